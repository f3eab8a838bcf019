"""What is typed in ``orchestrator play``: faults as a person says them, the goal, and the way back.

Nothing here reads a keyboard or prints. A line goes in, and what to show comes out; the scene is a frozen value, so
that an undo is the scene before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from orchestrator.errors import OrchestratorError
from orchestrator.faults import Chance, Fault
from orchestrator.graph import Graph
from orchestrator.units import parse_duration

__all__ = ("COMMANDS", "Line", "Misunderstood", "Playing", "Scene", "read_line")

COMMANDS = {
    "fail": ("fail NODE…", "every call of it fails"),
    "slow": ("slow NODE… 3s | 3x", "it takes that long, or that many times as long"),
    "wrong": ("wrong NODE…", "it answers, and breaks its output contract"),
    "unknown": ("unknown NODE…", "its effect happens, and the answer is lost"),
    "flaky": ("flaky NODE… 0.3", "that share of its calls fails"),
    "heal": ("heal NODE… | all", "it works again"),
    "goal": ("goal NAME", "ask for this goal"),
    "run": ("run [N]", "simulate a run with these faults and tell its story; N runs are summed up"),
    "plan": ("plan", "the route, and why others are not on it"),
    "why": ("why", "the same with the terms of every weight, and the runner-up"),
    "undo": ("undo", "take the last change back"),
    "reset": ("reset", "all is well again"),
    "help": ("help", "this list"),
    "quit": ("quit", "leave; so does the end of the input"),
}
"""What may be typed: its form, and what it brings about."""

_ALIASES = {"exit": "quit", "?": "help"}
_BREAKING = ("fail", "slow", "wrong", "unknown", "flaky")
_CHANGING = (*_BREAKING, "heal", "goal", "undo", "reset")
_FACTOR = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")


class Misunderstood(OrchestratorError):
    """A line that says nothing that can be followed; the message says what to type."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is asked for, and what is broken."""

    goal: str
    faults: Mapping[str, Fault | Chance] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was understood: its command, and its words."""

    command: str
    words: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the scene may be another one afterwards, so that it is drawn again."""
        return self.command in _CHANGING


def read_line(text: str) -> Line | None:
    """Return the command in a line; None where there is none.

    Raises:
        Misunderstood: There is no such command.
    """
    words = text.partition("#")[0].split()
    if not words:
        return None
    command = _ALIASES.get(words[0].lower(), words[0].lower())
    if command not in COMMANDS:
        raise Misunderstood(_unknown("command", command, COMMANDS, "type help for the list"))
    return Line(command, tuple(words[1:]))


class Playing:
    """The scene of one game, and those before it.

    Args:
        graph: The graph that is played with.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.domains = {
            domain: tuple(node.name for node in graph.nodes if domain in node.domains)
            for domain in sorted({domain for node in graph.nodes for domain in node.domains} - set(graph.by_name))
        }
        self._scenes = [Scene(graph.goals[0].name)]

    @property
    def scene(self) -> Scene:
        """How things stand."""
        return self._scenes[-1]

    def change(self, line: Line) -> str:
        """Follow a line that changes the scene, and say what is different.

        Raises:
            Misunderstood: A name or a figure in it is not known; nothing has changed.
        """
        if line.command == "undo":
            _no_words(line)
            if len(self._scenes) == 1:
                raise Misunderstood("there is nothing to undo")
            self._scenes.pop()
            return "as before"
        scene, said = self._changed(line)
        if scene != self.scene:
            self._scenes.append(scene)
        return said

    def _changed(self, line: Line) -> tuple[Scene, str]:
        match line.command:
            case "goal":
                return self._asks(line)
            case "heal":
                return self._healed(line)
            case "reset":
                _no_words(line)
                return Scene(self.graph.goals[0].name), "all is well"
        fault, figure = _fault(line)
        names = self._nodes(line.words[: len(line.words) - figure])
        if not names:
            raise Misunderstood(f"which node? write {COMMANDS[line.command][0]}")
        scene = replace(self.scene, faults={**self.scene.faults, **dict.fromkeys(names, fault)})
        return scene, f"{_listed(names)} {_says(line, len(names))}"

    def _asks(self, line: Line) -> tuple[Scene, str]:
        known = self.graph.goal_by_name
        if len(line.words) != 1:
            raise Misunderstood(f"which goal? there are {', '.join(known)}")
        (name,) = line.words
        if name not in known:
            raise Misunderstood(_unknown("goal", name, known, f"there are {', '.join(known)}"))
        return replace(self.scene, goal=name), f"the goal is {name}"

    def _healed(self, line: Line) -> tuple[Scene, str]:
        if line.words == ("all",) and "all" not in self.graph.by_name:
            return replace(self.scene, faults={}), "all tools work"
        names = self._nodes(line.words)
        if not names:
            raise Misunderstood(f"which node? write {COMMANDS['heal'][0]}")
        faults = {name: fault for name, fault in self.scene.faults.items() if name not in names}
        return replace(self.scene, faults=faults), f"{_listed(names)} work{'s' * (len(names) == 1)} again"

    def _nodes(self, words: Sequence[str]) -> list[str]:
        """Return the nodes that are named; a domain stands for all of its nodes."""
        known = self.graph.by_name
        found: list[str] = []
        for word in words:
            if word not in known and word not in self.domains:
                few = f"there are {', '.join(known)}" if len(known) <= 12 else "type TAB for the list"
                raise Misunderstood(_unknown("node", word, [*known, *self.domains], few))
            found += [word] if word in known else self.domains[word]
        return list(dict.fromkeys(found))

    def offers(self, before: str) -> list[str]:
        """Return what may come next, when *before* is what stands in the line already; the word at hand left out."""
        words = before.split()
        if not words:
            return list(COMMANDS)
        match _ALIASES.get(words[0].lower(), words[0].lower()):
            case "goal":
                return list(self.graph.goal_by_name) if len(words) == 1 else []
            case "heal":
                left = [name for name in self.scene.faults if name not in words]
                return [*left, "all"] if left and len(words) == 1 else left
            case command if command in _BREAKING:
                return [name for name in (*self.graph.by_name, *self.domains) if name not in words]
        return []


def _fault(line: Line) -> tuple[Fault | Chance, int]:
    """Return the fault that a line speaks of, and how many of its last words are a figure."""
    last = line.words[-1] if line.words else ""
    form = COMMANDS[line.command][0]
    match line.command:
        case "slow":
            if (factor := _FACTOR.fullmatch(last)) and float(factor[1]) >= 1:
                return Fault("slow", factor=float(factor[1])), 1
            try:
                return Fault("hang", seconds=parse_duration(last)), 1
            except ValueError:
                raise Misunderstood(f"how slow? write {form}") from None
        case "flaky":
            try:
                share = float(last.removesuffix("%")) / (100 if last.endswith("%") else 1)
            except ValueError:
                share = -1.0
            if not 0 <= share <= 1:
                raise Misunderstood(f"which share of the calls fails? write {form}")
            return Chance(share), 1
        case "wrong":
            return Fault("wrong"), 0
        case "unknown":
            return Fault("unknown"), 0
    return Fault("down"), 0


def _says(line: Line, count: int) -> str:
    one = count == 1
    match line.command:
        case "fail":
            return "is down" if one else "are down"
        case "slow":
            return f"{'takes' if one else 'take'} {line.words[-1]}{' as long' if line.words[-1].endswith('x') else ''}"
        case "wrong":
            return f"{'breaks' if one else 'break'} the output contract"
        case "unknown":
            return f"{'acts' if one else 'act'}, and the answer is lost"
    share = line.words[-1] if line.words[-1].endswith("%") else f"{float(line.words[-1]):.0%}"
    return f"{'fails' if one else 'fail'} {share} of the calls"


def _no_words(line: Line) -> None:
    if line.words:
        raise Misunderstood(f"{line.command} stands alone, without {line.words[0]!r}")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _unknown(kind: str, name: str, known: Collection[str] | Iterable[str], otherwise: str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"there is no {kind} {name!r}; " + (f"did you mean {close[0]!r}?" if close else otherwise)
