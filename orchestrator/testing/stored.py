"""The run log of a test: a real store on the test's clock, whose process can end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.events import Record
from orchestrator.store import Claim, Store, StoredValue
from orchestrator.testing.clock import VirtualClock, outside

__all__ = ("WorldStore", "open_store")


class WorldStore(Store):
    """A store that writes while the clock stands still, and writes nothing once its process has ended."""

    ended: Callable[[], bool] = staticmethod(lambda: False)
    """Whether the process has ended."""

    async def accept(
        self,
        run_id: str,
        graph: str,
        goal: str,
        records: Iterable[Record],
        values: Iterable[StoredValue] = (),
        **more: Any,
    ) -> Claim:
        """Write a new run; see `Store.accept`."""
        with self._writing():
            return await super().accept(run_id, graph, goal, records, values, **more)

    async def append(
        self, claim: Claim, records: Iterable[Record], values: Iterable[StoredValue] = (), *, release: bool = False
    ) -> None:
        """Write more of a run; see `Store.append`."""
        with self._writing():
            await super().append(claim, records, values, release=release)

    async def claim(self, run_id: str, *, steal: bool = False) -> Claim:
        """Claim a run; see `Store.claim`."""
        with self._writing():
            return await super().claim(run_id, steal=steal)

    async def release(self, claim: Claim) -> None:
        """Let a run go; a process that has ended lets go of everything when it closes."""
        if not self.ended():
            with self._writing():
                await super().release(claim)

    async def prune(self, older_than: float) -> int:
        """Delete finished runs; see `Store.prune`."""
        with self._writing():
            return await super().prune(older_than)

    async def aclose(self) -> None:
        """Close; what a process held that has ended may be claimed by others, as after a crash."""
        with outside():
            await super().aclose()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self.ended():
            raise StoreError("the process has ended: nothing is recorded any more")
        with outside():
            yield


def open_store(url: str | Path, clock: VirtualClock, ended: Callable[[], bool]) -> WorldStore:
    """Return the store at *url*, on a test's clock.

    A process lives there until it leaves or ends, however long the clock says that it has not been heard of.
    """
    store = WorldStore.open(url, clock=clock.time, lease=math.inf)
    assert isinstance(store, WorldStore)
    store.ended = ended
    return store
