"""Open the shop, run a command in it, close it again.

The command, as ``orchestrator run refund.yaml -i order_id=12-1``, finds the shop in its environment: SHOP_DB,
CARDPAY_URL, CARDPAY_PID and so on. With ``bash`` there is time to look around and to kill somebody.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from shared.command import run_in
from shared.providers import DEATHS
from shop.processes import Shop


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dies", choices=DEATHS, help="cardpay is killed by its first order, then started again")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a program and its arguments")
    options = parser.parse_args()
    if not options.command:
        parser.error("name a command to run")
    shop = Shop()

    def doom() -> None:
        if options.dies is not None:
            shop["cardpay"].die_once(options.dies)

    return run_in(shop, options.command, doom)


if __name__ == "__main__":
    sys.exit(main())
