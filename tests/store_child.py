"""A process that writes to a store and says what it was told is durable, to be watched and killed by a test.

python -m tests.store_child URL accept RUN ...      accept runs, then stay
python -m tests.store_child URL append RUN          accept a run, then append to it for ever
python -m tests.store_child URL drive N COUNT TAG   accept N runs and append COUNT records to each, side by side
python -m tests.store_child URL full                append until the disk is full, make room, and go on
python -m tests.store_child URL readonly            append, as a user who may not
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable

import anyio

from orchestrator.errors import StoreError
from orchestrator.store import Store, StoredValue
from tests.stores import accept, finished, warned


def say(text: str) -> None:
    """Tell the parent at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def stay(store: Store, *run_ids: str) -> None:
    """Accept runs and keep them."""
    for run_id in run_ids:
        await accept(store, run_id)
        say(f"accepted {run_id}")
    await anyio.sleep_forever()


async def append(store: Store, run_id: str) -> None:
    """Append one and three records in turn, with a value, and say up to where."""
    claim = await accept(store, run_id)
    say("1")
    seq = 1
    while True:
        count = 1 if seq % 4 == 1 else 3
        value = StoredValue("last", "child", str(seq + count).encode(), "text")
        await store.append(claim, warned(seq + 1, seq + count), [value])
        seq += count
        say(f"{seq}")


async def drive(store: Store, number: str, count: str, tag: str) -> None:
    """Carry out whole runs."""

    async def one(run_id: str) -> None:
        claim = await accept(store, run_id)
        for seq in range(2, int(count)):
            await store.append(claim, warned(seq, text=run_id))
        await store.append(claim, finished(int(count)))
        await store.release(claim)

    async with anyio.create_task_group() as group:
        for each in range(int(number)):
            group.start_soon(one, f"{tag}-{each}")
    say("done")


async def full(store: Store) -> None:
    """Fill the disk, as far as this process may."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    claim = await accept(store)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    seq = 1
    try:
        while True:
            await store.append(claim, warned(seq + 1, seq + 2, "x" * 3000), [StoredValue("last", "", b"%d" % seq, "")])
            seq += 2
    except StoreError as error:
        say(f"{seq} {error}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.append(claim, warned(seq + 1, seq + 2, "x" * 3000))
    say(f"{seq + 2}")


async def readonly(store: Store) -> None:
    """Try to write what may only be read."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        await accept(store, "mine")
    except StoreError as error:
        say(str(error))
    say(" ".join(row.run_id for row in await store.runs()))


async def main() -> None:
    """Open the store and carry out the command."""
    url, command, *rest = sys.argv[1:]
    commands: dict[str, Callable[..., Awaitable[None]]] = {
        "accept": stay,
        "append": append,
        "drive": drive,
        "full": full,
        "readonly": readonly,
    }
    async with Store.open(url) as store:
        await commands[command](store, *rest)


if __name__ == "__main__":
    anyio.run(main)
