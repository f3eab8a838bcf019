"""Policies: the numbers that say how a run behaves, in small frozen groups.

A policy is data. ``policies/default.yaml`` holds the same figures as the defaults here, each with its unit and
reason; the other ready-made ones hold what differs. A graph file names a policy or gives a map of overrides.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.units import Seconds, duration_text, risk_level

__all__ = (
    "Approval",
    "Circuit",
    "Effects",
    "Escalation",
    "Faults",
    "Health",
    "Hedge",
    "Limits",
    "Objective",
    "Overload",
    "People",
    "Planning",
    "Policy",
    "RetryPolicy",
    "RunLogPolicy",
)

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Group(BaseModel):
    """Base of all policy groups: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _rising(self, *names: str) -> None:
        """Raise `ValueError` where a time is longer than the one named after it."""
        for low, high in pairwise(names):
            least, most = duration_text(getattr(self, low)), duration_text(getattr(self, high))
            if getattr(self, low) > getattr(self, high):
                fix = f"write `{high}: {least}` or more, or a shorter `{low}`"
                raise ValueError(f"`{low}` is {least}, and `{high}` only {most}: {fix}")


class Objective(Group):
    """What one unit of each figure is worth. One unit of cost is one US cent, or one second."""

    units: Rate = Field(1.0, description="cost units per declared unit")
    usd: Rate = Field(100.0, description="cost units per US dollar")
    seconds: Rate = Field(1.0, description="cost units per second of declared latency")


class RetryPolicy(Group):
    """How a failed attempt is repeated. Only `read` and `idempotent` nodes are ever repeated."""

    attempts: int = Field(2, ge=1, le=10, description="attempts in all, the first one included")
    backoff: Seconds = Field(0.2, description="ceiling of the first wait, as 200ms; full jitter below it")
    max_backoff: Seconds = Field(5.0, description="no wait is longer than this, as 5s")
    tokens: float = Field(10.0, gt=0, description="retry budget of a group of substitutes; a failure takes one")
    refund: float = Field(0.1, ge=0, description="what a success gives back; retries only above half of the tokens")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        self._rising("backoff", "max_backoff")
        return self


class Circuit(Group):
    """When a node is taken out of use, for how long, and how it comes back."""

    failures: int = Field(5, ge=1, description="failures in a row that open the circuit")
    success: Share = Field(0.8, description="decayed success rate below which it opens")
    volume: int = Field(5, ge=1, description="outcomes in the window before the rate counts")
    window: Seconds = Field(30.0, description="time over which outcomes decay, as 30s")
    cooldown: Seconds = Field(5.0, description="time until the first probe, as 5s; it doubles with every opening")
    max_cooldown: Seconds = Field(
        60.0, description="until a probe, and until refused credentials are tried again, at most, as 1m"
    )
    share: Share = Field(0.5, description="share of a group of substitutes that may be open at once")
    slow_start: Seconds = Field(30.0, description="time from a tenth of its share back to the whole, as 30s")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        self._rising("cooldown", "max_cooldown")
        return self


class Health(Group):
    """How what is measured moves weights."""

    use: bool = Field(True, description="whether circuits, monitors and measurements have a say in routes")
    measure: bool = Field(True, description="whether measured success and latency move declared weights")
    prior: int = Field(20, ge=1, description="attempts that the declared success rate counts for")
    movement: float = Field(3.0, ge=1, description="a measured weight stays within this factor of the declared one")
    latency: Seconds = Field(10.0, description="time over which latencies decay, as 10s")
    stale: Seconds = Field(180.0, description="older measurements fall back to the mean of the group, as 3m")
    quiet: Seconds = Field(0.05, description="wait before a first change is published, as 50ms")
    short: Seconds = Field(0.2, description="wait while changes follow each other, as 200ms")
    long: Seconds = Field(5.0, description="wait once they have gone on for `learn`, as 5s")
    learn: Seconds = Field(0.5, description="time after which changes count as a storm, as 500ms")
    hold: Seconds = Field(10.0, description="time without changes after which all is quiet again, as 10s")
    lag: Seconds = Field(0.25, description="event-loop lag at which timeouts say nothing about nodes, as 250ms")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        self._rising("quiet", "short", "long")
        return self


class Overload(Group):
    """What one process lets run at once. Unset means no limit.

    A refused call is not tried again on its node; where no other way is left, the run ends with `limit:overload`.
    """

    runs: Annotated[int, Field(ge=1)] | None = Field(None, description="runs at once; more are refused")
    calls: Annotated[int, Field(ge=1)] | None = Field(None, description="calls at once, of all nodes")
    node: Annotated[int, Field(ge=1)] | None = Field(None, description="calls at once of one node")
    queue: int = Field(
        100, ge=0, description="calls of one node that may wait for their turn, each for its timeout; more are refused"
    )
    throttle: float = Field(2.0, ge=1, description="K of adaptive throttling: requests per accepted one")


class Hedge(Group):
    """A second call of a slow read, for whoever pays to wait less. Only `read` nodes are ever hedged.

    Both calls are charged, once the attempt has ended by itself. None is sent while the node's retry budget is spent or
    the node is barred, where it would have to wait for its turn, or where it costs more than the run may still spend.
    """

    after: Seconds | None = Field(None, description="wait before the second call, as 500ms; unset: no hedging")
    usd: Rate = Field(0.0, description="the highest declared price of a call that is hedged, in US dollars")


class Limits(Group):
    """What one run may spend. Unset means no limit."""

    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(None, description="US dollars per run")
    seconds: Seconds | None = Field(None, description="time per run, as 30s")
    calls: Annotated[int, Field(ge=0)] | None = Field(None, description="attempts per run")
    reroutes: Annotated[int, Field(ge=0)] | None = Field(None, description="reroutes per run")


class Escalation(Group):
    """What happens when no feasible route to the asked goal is left."""

    by: Literal["policy", "model", "person"] = Field(
        "policy", description="who decides: the rule below, a model, or a person; the rule stands in for a model"
    )
    demote: bool = Field(True, description="whether a run may be demoted to a lower listed goal")
    model: str | None = Field(None, description="the model that decides: a name under models:")
    calls: int = Field(2, ge=0, le=100, description="questions to the model per run")
    timeout: Seconds = Field(10.0, description="time for one answer, as 10s")
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="US dollars per run for questions to the model"
    )
    supply: tuple[str, ...] = Field((), description="values that the model may supply itself; people may supply any")


class Approval(Group):
    """Which calls stop for a person's yes, beside those that declare it themselves. Unset means none."""

    risk: Annotated[float, BeforeValidator(risk_level), Field(ge=0, le=1)] | None = Field(
        1.0, description="calls of this declared risk or more: low, medium, high or 0..1"
    )
    usd: Rate | None = Field(None, description="calls with a declared price above this, in US dollars")
    budget: Rate | None = Field(
        None, description="calls that would take what the run has spent above this, in US dollars"
    )


class People(Group):
    """How long a run waits for people, and what then happens."""

    deadline: Seconds | None = Field(None, description="time until a question is overdue, as 24h; unset: never")
    overdue: Literal["refuse", "cancel"] = Field(
        "refuse", description="refuse: the call is refused and the run goes another way; cancel: the run is cancelled"
    )


class RunLogPolicy(Group):
    """What is kept of runs that are over."""

    keep: Seconds | None = Field(720 * 3600.0, description="time that a finished run is kept, as 720h; null: for ever")


class Effects(Group):
    """How declared side effects are settled."""

    keep: bool = Field(False, description="keep finished effects of a failed or cancelled run instead of undoing them")
    undo_attempts: int = Field(3, ge=1, le=10, description="attempts per undo")
    verify_attempts: int = Field(
        3, ge=1, le=10, description="attempts to verify an unknown outcome, then a person is asked"
    )


class Planning(Group):
    """How much work the planner may put into one route."""

    expansions: int = Field(20_000, ge=0, description="node expansions for improving and proving a route; never time")


class Faults(Group):
    """Faults to inject into the attempts of every node, for drills: shares of all attempts, together at most 1.

    A fault file says what happens to some nodes; these hold for every node that none names.
    """

    fail: Share = Field(0.0, description="share of attempts that fail before anything has happened")
    unknown: Share = Field(0.0, description="share of attempts that take effect and whose answer is lost")
    wrong: Share = Field(0.0, description="share of results that break the output contract of nodes that have one")
    hang: Share = Field(0.0, description="share of attempts that never answer")
    slow: Share = Field(0.0, description="share of attempts that answer late")
    slowdown: float = Field(3.0, ge=1, allow_inf_nan=False, description="how many times longer a slow attempt takes")

    @model_validator(mode="after")
    def _at_most_all(self) -> Faults:
        total = self.fail + self.unknown + self.wrong + self.hang + self.slow
        if total > 1 + 1e-9:
            raise ValueError(f"the shares are {total:g} together; they are shares of all attempts, so at most 1")
        return self


class Policy(Group):
    """Everything that is configured about a run; see the groups."""

    objective: Objective = Field(default_factory=Objective)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeout: Seconds = Field(30.0, description="time for one attempt, as 30s")
    circuit: Circuit = Field(default_factory=Circuit)
    health: Health = Field(default_factory=Health)
    overload: Overload = Field(default_factory=Overload)
    hedge: Hedge = Field(default_factory=Hedge)
    limits: Limits = Field(default_factory=Limits)
    escalation: Escalation = Field(default_factory=Escalation)
    approval: Approval = Field(default_factory=Approval)
    people: People = Field(default_factory=People)
    effects: Effects = Field(default_factory=Effects)
    planning: Planning = Field(default_factory=Planning)
    log: RunLogPolicy = Field(default_factory=RunLogPolicy)
    faults: Faults = Field(default_factory=Faults)
