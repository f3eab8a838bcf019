"""Faults on purpose: which attempt of which node fails, and how. The same file for a simulation, a real run and tests.

A plan is pure: the outcome of an attempt depends on the node, the attempt's number, the run's clock and a seed, never
on what was asked before. `FaultPlan.outcome` says what happens, `Fault.failure` what a run sees of it, and
`orchestrator.nodes.inject.inject` makes it happen to real calls. A policy's `faults` are a plan too, for every node
that no file lists: `drilled`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Literal

from orchestrator.chance import unit_interval
from orchestrator.errors import Problem, SpecError
from orchestrator.events import Failure
from orchestrator.graph import Graph
from orchestrator.policy import Faults
from orchestrator.spec.problems import Finding, Path, Places, did_you_mean, placed, quoted
from orchestrator.units import parse_duration

__all__ = ("Chance", "Fault", "FaultPlan", "Mix", "Window", "drilled")

Kind = Literal["ok", "down", "raise", "permanent", "hang", "wrong", "slow", "unknown", "rate_limited"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one attempt."""

    kind: Kind = "ok"
    seconds: float | None = None
    """How long a hang lasts before the node answers; None: for ever."""
    factor: float = 1.0
    """How many times longer a slow attempt takes."""
    retry_after: float | None = None
    """Seconds, of a rate limit."""

    def failure(self) -> Failure | None:
        """Return the failure that a run sees; None for kinds that may still end well (ok, hang, slow)."""
        match self.kind:
            case "down":
                return Failure("down", "injected: the node is down", transient=True)
            case "raise":
                return Failure("raised", "injected: the node raised", transient=True)
            case "permanent":
                return Failure("raised", "injected: the node raised, and always will")
            case "wrong":
                message = "injected: the result breaks the output contract"
                return Failure("invalid_output", message, transient=True, happened="yes")
            case "unknown":
                return Failure("timeout", "injected: the answer was lost", transient=True, happened="unknown")
            case "rate_limited":
                message = "injected: too many requests"
                return Failure("rate_limited", message, transient=True, retry_after=self.retry_after)
            case "ok" | "hang" | "slow":
                return None


@dataclass(frozen=True, slots=True)
class Chance:
    """An outcome that is left to chance: the attempt raises with this probability."""

    probability: float


@dataclass(frozen=True, slots=True)
class Mix:
    """An outcome left to chance among several, each with its share of the attempts; else nothing is injected."""

    shares: tuple[tuple[Fault, float], ...]

    def pick(self, at: float) -> Fault | None:
        """Return the fault at a place in [0, 1), or None."""
        for fault, share in self.shares:
            if at < share:
                return fault
            at -= share
        return None


@dataclass(frozen=True, slots=True)
class Window:
    """A time span of the run's own clock, in seconds; the end is not part of it, and None is never."""

    start: float = 0.0
    end: float | None = None

    def __contains__(self, at: float) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True)
class FaultPlan:
    """The faults of one file."""

    nodes: Mapping[str, tuple[Fault | Chance | Mix, ...]] = field(default_factory=dict)
    """Per node one outcome per attempt; the last one repeats."""
    domains: Mapping[str, Window] = field(default_factory=dict)
    """When all nodes of a domain are down."""
    seed: int | None = None
    places: Places | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_file(cls, path: str | FilePath) -> FaultPlan:
        """Read a fault file.

        Raises:
            SpecError: It cannot be read, or something in it is wrong; holds every problem, with its place.
        """
        try:
            content = FilePath(path).read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SpecError((Problem("E002", f"cannot read {path}: {reason}", str(path)),)) from error
        return cls.from_text(content, str(path))

    @classmethod
    def from_text(cls, text: bytes | str, file: str = "<faults>") -> FaultPlan:
        """Read the text of a fault file; raises `SpecError` like `from_file`."""
        from orchestrator.spec.marks import document  # loads yaml, which only a file needs

        read = document(text, file)
        reading = _Reading()
        plan = reading.plan({} if read.data is None else read.data) if read.complete else cls()
        problems = (*read.problems, *(placed(finding, read) for finding in reading.findings))
        if problems:
            raise SpecError(tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))))
        return replace(plan, places=read)

    def outcome(
        self, node: str, attempt: int, at: float, *, seed: int, success: float = 1.0, domains: Collection[str] = ()
    ) -> Fault:
        """Return what happens to an attempt.

        Args:
            node: The node's name.
            attempt: The attempt's number, from 1.
            at: When it starts, in seconds on the run's clock.
            seed: Decides what is left to chance.
            success: The node's declared share of successes; a node that a fault file lists ignores it.
            domains: The domains of the node; one that is down beats everything else.
        """
        if any(at in self.domains[domain] for domain in domains if domain in self.domains):
            return Fault("down")
        script = self.nodes.get(node)
        outcome = Chance(1.0 - success) if script is None else script[min(attempt, len(script)) - 1]
        if isinstance(outcome, Mix):
            outcome = outcome.pick(unit_interval(seed, node, attempt, "drill")) or Chance(1.0 - success)
        if isinstance(outcome, Fault):
            return outcome
        return Fault("raise" if unit_interval(seed, node, attempt) < outcome.probability else "ok")

    def problems(self, graph: Graph, *, real: bool = False) -> tuple[Problem, ...]:
        """Return what does not fit *graph*: unknown nodes and domains.

        Args:
            graph: The graph that is run.
            real: Whether the nodes are really called; then `wrong` needs an output contract that it can break.
        """
        domains = {domain for node in graph.nodes for domain in node.domains}
        findings = [
            *_unknown("node", self.nodes, graph.by_name),
            *_unknown("domain", self.domains, domains),
        ]
        for name, script in self.nodes.items():
            node = graph.by_name.get(name)
            if real and node is not None and not node.output and Fault("wrong") in script:
                message = f"{quoted(name)} cannot give a wrong result: it has no output contract"
                findings.append(Finding("E033", message, ("nodes", name), help=f"give {name} an `output:`"))
        return tuple(placed(finding, self.places) for finding in findings)


def drilled(plan: FaultPlan | None, faults: Faults, graph: Graph) -> FaultPlan | None:
    """Return *plan* with a policy's *faults* for every node of *graph* that it does not list."""
    kinds: tuple[tuple[Fault, float], ...] = (
        (Fault("raise"), faults.fail),
        (Fault("unknown"), faults.unknown),
        (Fault("wrong"), faults.wrong),
        (Fault("hang"), faults.hang),
        (Fault("slow", factor=faults.slowdown), faults.slow),
    )
    shares = tuple((fault, share) for fault, share in kinds if share)
    if not shares:
        return plan
    bare = tuple((fault, share) for fault, share in shares if fault.kind != "wrong")  # no contract to break
    everywhere = {node.name: (Mix(shares if node.output else bare),) for node in graph.nodes}
    plan = plan or FaultPlan()
    return replace(plan, nodes={**everywhere, **plan.nodes})


def _unknown(kind: str, named: Collection[str], known: Collection[str]) -> list[Finding]:
    return [
        Finding(
            "E030",
            f"there is no {kind} {quoted(name)}",
            (f"{kind}s", name),
            help=did_you_mean(name, known, kind=f"{kind}s"),
            at_key=True,
        )
        for name in named
        if name not in known
    ]


# -------------------------------------------------------------------------------------------------------------- reading

_WORDS: Mapping[str, Fault] = {
    word: Fault(word) for word in ("ok", "down", "raise", "hang", "wrong", "unknown", "rate_limited")
}
_FACTOR = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")


class _Wrong(Exception):
    """A part of the file cannot be read; others still can."""

    def __init__(self, message: str, path: Path, help: str | None = None, *, code: str = "E022", key: bool = False):
        super().__init__(message)
        self.finding = Finding(code, message, path, help=help, at_key=key)


class _Reading:
    """Turns the data of a fault file into a plan and collects what is wrong with it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def plan(self, data: Any) -> FaultPlan:
        seed: int | None = None
        nodes: dict[str, tuple[Fault | Chance, ...]] = {}
        domains: dict[str, Window] = {}
        for key, value in self._map(data, ()).items():
            if key == "seed":
                seed = self._part(_seed, value, (key,))
            elif key == "nodes":
                nodes = self._each(_script, value, (key,))
            elif key == "domains":
                domains = self._each(_window, value, (key,))
            elif not key.startswith("x-"):
                self.findings.append(_unknown_key(key, ("seed", "nodes", "domains"), ()).finding)
        return FaultPlan(nodes, domains, seed)

    def _map(self, data: Any, path: Path) -> dict[str, Any]:
        return self._part(_mapping, data, path) or {}

    def _each(self, read: Callable[[Any, Path], Any], data: Any, path: Path) -> dict[str, Any]:
        parts = {key: self._part(read, value, (*path, key)) for key, value in self._map(data, path).items()}
        return {key: part for key, part in parts.items() if part is not None}

    def _part(self, read: Callable[[Any, Path], Any], data: Any, path: Path) -> Any:
        try:
            return read(data, path)
        except _Wrong as wrong:
            self.findings.append(wrong.finding)
            return None


def _unknown_key(key: str, known: Collection[str], path: Path) -> _Wrong:
    help = did_you_mean(key, known, kind="keys")
    return _Wrong(f"unknown key {quoted(key)}", (*path, key), help, code="E020", key=True)


def _mapping(data: Any, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _Wrong(f"expected a map, got {quoted(data)}", path)
    return data


def _seed(data: Any, path: Path) -> int:
    if not isinstance(data, int) or isinstance(data, bool):
        raise _Wrong(f"a seed is a whole number, not {quoted(data)}", path)
    return data


def _script(data: Any, path: Path) -> tuple[Fault | Chance, ...]:
    if data == []:
        raise _Wrong("an empty list says nothing about any attempt", path, "write one outcome per attempt")
    outcomes = data if isinstance(data, list) else [data]
    paths = [(*path, index) for index in range(len(outcomes))] if isinstance(data, list) else [path]
    return tuple(_outcome(outcome, at) for outcome, at in zip(outcomes, paths, strict=True))


def _outcome(data: Any, path: Path) -> Fault | Chance:
    if isinstance(data, str):
        if data in _WORDS:
            return _WORDS[data]
        if data in _FORMS:
            raise _Wrong(f"{quoted(data)} needs a figure", path, f"write {_FORMS[data][0]}")
        raise _Wrong(f"there is no outcome {quoted(data)}", path, did_you_mean(data, _WORDS, kind="outcomes"))
    if not isinstance(data, dict) or len(data) != 1:
        raise _Wrong(f"{quoted(data)} is no outcome", path, "write one such as down, {hang: 5s} or {slow: 3x}")
    [(key, value)] = data.items()
    if key == "down":
        help = "write plain `down`; a time span belongs to a domain, under domains:"
        raise _Wrong("`down` of a node takes no time span", (*path, key), help)
    if key not in _FORMS:
        raise _unknown_key(key, _FORMS, path)
    return _FORMS[key][1](value, (*path, key))


def _raise(data: Any, path: Path) -> Fault:
    if data not in ("permanent", "transient"):
        raise _Wrong(f"a raise is permanent or transient, not {quoted(data)}", path)
    return Fault("permanent" if data == "permanent" else "raise")


def _hang(data: Any, path: Path) -> Fault:
    return Fault("hang", seconds=_duration(data, path))


def _slow(data: Any, path: Path) -> Fault:
    match = _FACTOR.fullmatch(data) if isinstance(data, str) else None
    if match is None or not 1.0 <= float(match[1]) < math.inf:
        raise _Wrong(f"{quoted(data)} is no slowdown", path, "write a factor of at least 1, such as 3x")
    return Fault("slow", factor=float(match[1]))


def _rate_limited(data: Any, path: Path) -> Fault:
    retry_after = None
    for key, value in _mapping(data, path).items():
        if key != "retry_after":
            raise _unknown_key(key, ("retry_after",), path)
        retry_after = _duration(value, (*path, key))
    return Fault("rate_limited", retry_after=retry_after)


def _fail(data: Any, path: Path) -> Chance:
    if not isinstance(data, int | float) or isinstance(data, bool) or not 0 <= data <= 1:
        raise _Wrong(f"a probability is a number from 0 to 1, not {quoted(data)}", path)
    return Chance(float(data))


_FORMS: Mapping[str, tuple[str, Callable[[Any, Path], Fault | Chance]]] = {
    "raise": ("{raise: permanent}", _raise),
    "hang": ("{hang: 5s}", _hang),
    "slow": ("{slow: 3x}", _slow),
    "rate_limited": ("{rate_limited: {retry_after: 2s}}", _rate_limited),
    "fail": ("{fail: 0.3}", _fail),
}


def _window(data: Any, path: Path) -> Window:
    if data == "down":
        return Window()
    if not isinstance(data, dict) or list(data) != ["down"]:
        raise _Wrong(f"{quoted(data)} is no fault of a domain", path, "write {down: {from: 1s, to: 4s}}")
    path = (*path, "down")
    span = _mapping(data["down"], path)
    for key in span:
        if key not in ("from", "to"):
            raise _unknown_key(key, ("from", "to"), path)
    start = _duration(span["from"], (*path, "from")) if "from" in span else 0.0
    end = _duration(span["to"], (*path, "to")) if "to" in span else None
    if end is not None and end <= start:
        raise _Wrong("this time span is empty", path, "`to` must be later than `from`")
    return Window(start, end)


def _duration(data: Any, path: Path) -> float:
    if isinstance(data, int | float) and not isinstance(data, bool):
        raise _Wrong("a bare number has no unit", path, f"write {data:g}ms or {data:g}s")
    try:
        seconds = parse_duration(data) if isinstance(data, str) else math.inf
    except ValueError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise _Wrong(f"{quoted(data)} is no duration", path, "write a duration such as 250ms, 5s or 10m")
    return seconds
