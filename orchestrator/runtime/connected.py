"""A configured graph and what it is connected to: outlets, the run log, the model and the people who decide."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from orchestrator.chance import seed_of
from orchestrator.drivers.answers import Ask
from orchestrator.drivers.beside import Beside
from orchestrator.drivers.lanes import Lanes
from orchestrator.drivers.runs import Runs
from orchestrator.events import Record, RunStarted
from orchestrator.run import Foreseen
from orchestrator.runtime.configured import Bind, Configured
from orchestrator.telemetry.outlets import Outlets

if TYPE_CHECKING:
    from orchestrator.escalation import DecisionModel
    from orchestrator.faults import FaultPlan
    from orchestrator.health import Monitor
    from orchestrator.health.rows import HealthRow
    from orchestrator.nodes.binding import Bindings
    from orchestrator.runtime.vitals import Vitals
    from orchestrator.store import Store
    from orchestrator.weight import View

__all__ = ("Begin", "Connected", "OnRecord", "Sink")

Sink = Callable[[str, Record], None]
"""Takes (run id, record). Called on a thread of its own: it can neither slow a run nor fail it."""

OnRecord = Callable[[Record], object]
"""Takes every record as it happens, on the event loop; must be quick and not raise."""

Begin = Callable[[str | None, int | None, "FaultPlan | None"], tuple[str, int, "FaultPlan | None"]]
"""Completes what a run is started with: its id, its seed and the faults to inject; None is what was not given."""


def _begin(run_id: str | None, seed: int | None, faults: FaultPlan | None) -> tuple[str, int, FaultPlan | None]:
    run_id = run_id or str(uuid.uuid4())
    if seed is None:
        seed = faults.seed if faults is not None and faults.seed is not None else seed_of(run_id)
    return run_id, seed, faults


class Connected(Configured):
    """A configured graph, connected; the base of `Orchestrator`, which runs it."""

    def _link(
        self,
        sinks: Iterable[Sink],
        tracer: Any,
        store: Store | str | Path | None,
        model: DecisionModel | None,
        ask: Ask | None,
        monitors: Iterable[Monitor],
        *,
        source: str | None = None,
    ) -> None:
        self._outlets = Outlets(sinks, tracer, self._redactor.redact)
        self._streams: set[asyncio.Task[None]] = set()
        self._runs = Runs(store, keep=self.policy.log.keep, source=source)
        self._model = model
        self._own_model = model is None
        self._ask = ask
        self._monitors = tuple(monitors)
        self._process: Vitals | None = None
        self._alone = False
        self._lanes = Lanes(self.policy.overload, clock=self._clock)
        self._begin: Begin = _begin
        self._seen: Callable[[str, Record], object] | None = None

    def standing_in(
        self,
        *,
        clock: Callable[[], float],
        bind: Callable[[Bind], Bindings],
        begin: Begin,
        on_record: Callable[[str, Record], object],
        runs: Runs,
        model: DecisionModel | None = None,
        ask: Ask | None = None,
    ) -> Self:
        """Return a copy in surroundings of its own, such as a test's; this orchestrator stays as it is.

        Health has no say in it: its runs go by what is declared and by what happens in themselves, so that the same
        script always tells the same story.

        Args:
            clock: Returns seconds, as for `Orchestrator`.
            bind: Returns the bindings, given what binds the graph anew.
            begin: Completes what every run is started with.
            on_record: Called with the run's id and every record as it happens, on the event loop.
            runs: The run log, instead of the own one.
            model: Decides instead of the own one; None: that one does.
            ask: Asks people instead of the own one; None: that one does.
        """
        copied = copy(self)
        copied._clock, copied._binder, copied._bindings = clock, bind, None
        copied._alone, copied._process, copied._lanes = True, None, Lanes(self.policy.overload, clock=clock)
        copied._begin, copied._seen, copied._runs, copied._streams = begin, on_record, runs, set()
        if model is not None:
            copied._model, copied._own_model = model, False
        elif self._own_model:
            copied._model = None
        if ask is not None:
            copied._ask = ask
        return copied

    def _publish(
        self, run_id: str, on_record: OnRecord | None, started: RunStarted | None = None
    ) -> tuple[Callable[[str, Record], None], Callable[[Foreseen], None] | None, str]:
        """Begin a run's trace, or with its first record the next one; return what takes its records, and its id.

        Between them: what takes what the run foresees; None where the run is not traced.
        """
        outlets, trace_id = self._outlets.begin(run_id, self.graph.name, started=started)
        seen, tracing = self._seen, self._outlets.tracing(run_id)

        def publish(run: str, record: Record) -> None:
            for outlet in outlets:
                outlet.put(run, record)
            if seen is not None:
                seen(run, record)
            if on_record is not None:
                on_record(record)

        return publish, None if tracing is None else partial(tracing.put, run_id), trace_id

    def health(self) -> tuple[HealthRow, ...]:
        """Return how each node is, as this process knows it from its runs; nothing before the first one.

        Nothing is known where the policy gives health no say (`health.use`).
        """
        rows: tuple[HealthRow, ...] = () if self._process is None else self._process.board.rows()
        return tuple(self._redactor.redact(row) for row in rows)

    def _seen_now(self) -> View:
        rows = self.health()
        if not rows:
            return super()._seen_now()
        from orchestrator.health.seen import seen

        return seen(super()._seen_now(), rows)

    def _beside(self, run_id: str) -> Beside:
        """Return what a run has beside it in this process."""
        vitals = self._vitals()
        return Beside(run_id, self._lanes, None if vitals is None else vitals.link(run_id))

    def _vitals(self) -> Vitals | None:
        """Return what this process knows of its nodes, if the policy wants that; it is kept up to date from then on."""
        if not self.policy.health.use or self._alone:
            return None
        from orchestrator.runtime.vitals import Vitals

        if self._process is None:
            self._process = Vitals(
                self.graph,
                self.policy,
                self.spec,
                base=self._blueprint.view,
                clock=self._clock,
                monitors=self._monitors,
                probes=self._bound().probes,
                errors=self._bound().errors,
                report=self._outlets.report,
                store=self._runs.open if self._runs.durable else None,
                now=self._runs.now,
                redact=self._redactor.redact,
            )
        self._process.start()
        return self._process

    async def ready(self) -> None:
        """Wait, for two seconds at most, until it is known how nodes were in earlier processes, and are in others.

        Only the first runs have something to wait for, and only with a store and a policy that gives health a say.
        Whatever runs does so itself, but `start`, which cannot.
        """
        vitals = self._vitals()
        if vitals is not None:
            await vitals.ready()

    def _decider(self) -> DecisionModel | None:
        if self._model is None and self.policy.escalation.by == "model":
            from orchestrator.escalation import decision_model

            self._model = decision_model(self.spec, self.policy, self._redactor.redact)
        return self._model

    # ------------------------------------------------------------------------------------------------------ lifetimes

    def add_sink(self, sink: Sink) -> None:
        """Call *sink* with every record of the runs to come."""
        self._outlets.add(sink)

    async def aclose(self) -> None:
        """Close what was opened: HTTP clients, the store, telemetry. The orchestrator can be used again afterwards."""
        if self._process is not None:
            await self._process.aclose()
        bindings, self._bindings = self._bindings, None
        model, self._model = self._model, None if self._own_model else self._model
        for close in [*(bindings.closers if bindings else ()), *([model.aclose] if self._own_model and model else [])]:
            await close()
        await self._runs.aclose()
        await self._outlets.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()
