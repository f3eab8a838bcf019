"""Open the shop, run a command in it, close it again.

The command, as ``orchestrator run refund.yaml -i order_id=12-1``, finds the shop in its environment: SHOP_DB,
CARDPAY_URL, CARDPAY_PID and so on. With ``bash`` there is time to look around and to kill somebody.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from shop.processes import Shop
from shop.providers import DEATHS

NOT_FOUND = 127
"""What a shell exits with where there is no such command."""


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dies", choices=DEATHS, help="cardpay is killed by its first order, then started again")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a program and its arguments")
    options = parser.parse_args()
    if not options.command:
        parser.error("name a command to run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Shop() as shop:
            if options.dies is not None:
                shop["cardpay"].die_once(options.dies)
            return run(options.command, shop.environ)
    except KeyboardInterrupt:
        return 130


def run(command: list[str], shop: dict[str, str]) -> int:
    """Run *command* to its end; what ends it is its own matter, also on Ctrl-C."""
    # The programs beside this Python first, so that `orchestrator` is the one that belongs to it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=path)
    if program is None:
        print(f"there is no command {command[0]!r}", file=sys.stderr)
        return NOT_FOUND
    with subprocess.Popen([program, *command[1:]], env={**os.environ, **shop, "PATH": path}) as process:
        signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue  # the terminal has told the command too
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
