"""The calls of a graph in a test: scripted ones, faked ones, and real ones that are written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

import anyio

from orchestrator.errors import InputError
from orchestrator.graph import Graph, Node
from orchestrator.nodes.binding import Bindings, Call, CallContext, NodeBinding, Reply
from orchestrator.nodes.contract import split
from orchestrator.nodes.python import RawCall
from orchestrator.testing.clock import VirtualClock
from orchestrator.testing.scripts import NodeScript, Script, UnexpectedCallError, shortened
from orchestrator.testing.stories import at_text

__all__ = ("Calls",)

Unscripted = Literal["real", "fake", "refuse"]


class Calls:
    """Every call that a graph can make, as a test wants it.

    After an unexpected call nothing is called any more, really or by script: whatever the run tries then, it fails.

    Args:
        graph: The graph.
        clock: The test's clock.
        unscripted: What becomes of nodes without a script.
        unexpected: Takes what was unexpected, in words; anything in it, from whomever, is the end of all calls.
    """

    def __init__(
        self,
        graph: Graph,
        clock: VirtualClock,
        unscripted: Unscripted = "real",
        unexpected: list[str] | None = None,
    ) -> None:
        if unscripted not in get_args(Unscripted):
            raise ValueError(f"unscripted calls are real, fake or refuse, not {unscripted!r}")
        self.graph = graph
        self.clock = clock
        self.unscripted = unscripted
        self.unexpected: list[str] = [] if unexpected is None else unexpected
        self._nodes: dict[str, NodeScript] = {}
        self._checks: dict[str, Script] = {}
        self._effects: dict[str, Any] = {}
        """What scripted and faked nodes have done, by idempotency key: what a verify finds."""

    # ---------------------------------------------------------------------------------------------------------- scripts

    def node(self, name: str) -> NodeScript:
        """Return the script of a node."""
        __tracebackhide__ = True
        _refuse_unknown("node", name, self.graph.by_name)
        return self._nodes.setdefault(name, NodeScript(name))

    def check(self, goal: str) -> Script:
        """Return the script of a goal's check."""
        __tracebackhide__ = True
        _refuse_unknown("goal", goal, self.graph.goal_by_name)
        if not self.graph.goal_by_name[goal].check:
            raise InputError(f"goal {goal!r} declares no check that could be scripted")
        return self._checks.setdefault(goal, Script(f"check of {goal}"))

    def scripts(self) -> Iterator[Script]:
        """Yield every script."""
        for script in self._nodes.values():
            yield script
            yield from script.others.values()
        yield from self._checks.values()

    def _is_scripted(self, name: str) -> bool:
        return name in self._nodes and self._nodes[name].used

    def _script(self, name: str, kind: str) -> Script | None:
        script = self._nodes[name].others.get(kind) if name in self._nodes else None
        return script if script is not None and script.used else None

    # ---------------------------------------------------------------------------------------------------------- calls

    def instead(self) -> Mapping[str, RawCall]:
        """Return the calls of scripted nodes, and of those that are not really called: nothing is bound for them."""
        calls: dict[str, RawCall] = {} if self.unscripted == "real" else dict.fromkeys(self.graph.by_name, _not_bound)
        calls |= {name: self._scripted(script) for name, script in self._nodes.items() if script.used}
        return calls

    def around(self, bindings: Bindings) -> Bindings:
        """Return bindings whose calls are those of the test."""
        nodes = {name: self._binding(self.graph.by_name[name], real) for name, real in bindings.nodes.items()}
        checks = {goal: self._check(goal, real) for goal, real in bindings.checks.items()}
        return replace(bindings, nodes=nodes, checks=checks)

    async def _play(self, script: Script, inputs: Mapping[str, Any], what: str) -> Any:
        step = script.take(inputs)
        if step is None:
            raise self._refuse(f"unexpected call of {what}, given {_given(inputs)}", script)
        return await step.act(inputs)

    def _refuse(self, text: str, script: Script | None = None) -> UnexpectedCallError:
        head = f"{text}, at {at_text(self.clock.now)}"
        self.unexpected.append(head if script is None else f"{head}\n{script.told()}")
        return UnexpectedCallError(head)

    def _go_on(self) -> None:
        if self.unexpected:
            raise UnexpectedCallError("nothing is called any more after an unexpected call")

    def _scripted(self, script: NodeScript) -> RawCall:
        async def call(inputs: Mapping[str, Any], context: CallContext) -> Any:
            step = script.take(inputs)
            if step is None:
                what = f"{script.name} (attempt {context.attempt})"
                raise self._refuse(f"unexpected call of {what}, given {_given(inputs)}", script)
            if step.takes_effect:
                self._effects[context.key] = step.value
            result = await step.act(inputs)
            if step.takes_effect:
                self._effects[context.key] = result
            return result

        return call

    def _faked(self, node: Node) -> Call:
        async def call(inputs: Mapping[str, Any], context: CallContext) -> Reply:
            self.node(node.name).called.append(dict(inputs))
            values: dict[str, Any] = dict.fromkeys(node.provides, None if node.pure else {"fake": node.name})
            self._effects[context.key] = values
            await self._take_time(node)
            return Reply(values)

        return call

    async def _take_time(self, node: Node) -> None:
        """Take as long as a node declares, where it is faked; a script says itself how long it takes."""
        if self.unscripted == "fake" and node.seconds:
            await anyio.sleep(node.seconds)

    def _refused(self, node: Node) -> Call:
        async def call(inputs: Mapping[str, Any], context: CallContext) -> Reply:
            what = f"{node.name} (attempt {context.attempt})"
            raise self._refuse(f"unexpected call of {what}, which has no script, given {_given(inputs)}")

        return call

    def _written_down(self, name: str, real: Call) -> Call:
        async def call(inputs: Mapping[str, Any], context: CallContext) -> Reply:
            self.node(name).called.append(dict(inputs))
            return await real(inputs, context)

        return call

    def _binding(self, node: Node, real: NodeBinding) -> NodeBinding:
        scripted = self._is_scripted(node.name)
        faked = not scripted and self.unscripted == "fake"
        if scripted:
            call = real.call
        elif faked:
            call = self._faked(node)
        elif self.unscripted == "refuse":
            call = self._refused(node)
        else:
            call = self._written_down(node.name, real.call)

        async def guarded(inputs: Mapping[str, Any], context: CallContext) -> Reply:
            self._go_on()
            return await call(inputs, context)

        stands_in = scripted or self.unscripted != "real"
        return NodeBinding(
            guarded,
            guard=self._guard(node, real) if node.guard else None,
            gate=self._gate(node, real) if node.gate == "function" else None,
            undo=self._undo(node, real, stands_in) if node.undo else None,
            verify=self._verify(node, real, stands_in) if node.verify else None,
        )

    # ----------------------------------------------------------------------------------------------------- other calls

    @property
    def _passes(self) -> bool:
        """Whether guards, gates and checks pass: a fake's placeholder is nothing that they could judge."""
        return self.unscripted == "fake"

    def _guard(self, node: Node, real: NodeBinding) -> Callable[[Mapping[str, Any]], Awaitable[bool]]:
        script, own = self._script(node.name, "guard"), real.guard

        async def guard(inputs: Mapping[str, Any]) -> bool:
            self._go_on()
            if script is not None:
                return bool(await self._play(script, inputs, script.name))
            return True if self._passes or own is None else await own(inputs)

        return guard

    def _gate(self, node: Node, real: NodeBinding) -> Callable[[Mapping[str, Any]], Awaitable[str | None]]:
        script, own = self._script(node.name, "gate"), real.gate

        async def gate(inputs: Mapping[str, Any]) -> str | None:
            self._go_on()
            if script is not None:
                reason = await self._play(script, inputs, script.name)
                return None if reason is None or reason is False else str(reason)
            return None if self._passes or own is None else await own(inputs)

        return gate

    def _undo(
        self, node: Node, real: NodeBinding, stands_in: bool
    ) -> Callable[[Mapping[str, Any], Any, str], Awaitable[None]]:
        script, own = self._script(node.name, "undo"), real.undo

        async def undo(inputs: Mapping[str, Any], result: Any, key: str) -> None:
            self._go_on()
            if script is not None:
                await self._play(script, inputs, script.name)
            elif not stands_in and own is not None:
                await own(inputs, result, key)
            else:
                await self._take_time(node)
            self._effects.pop(key, None)

        return undo

    def _verify(
        self, node: Node, real: NodeBinding, stands_in: bool
    ) -> Callable[[Mapping[str, Any], str], Awaitable[Reply | None]]:
        script, own = self._script(node.name, "verify"), real.verify

        async def verify(inputs: Mapping[str, Any], key: str) -> Reply | None:
            self._go_on()
            if script is not None:
                found = await self._play(script, inputs, script.name)
                return None if found is None else Reply(split(found, node))
            if not stands_in and own is not None:
                return await own(inputs, key)
            await self._take_time(node)
            if key not in self._effects:
                return None
            done = self._effects[key]
            return Reply(done if not self._is_scripted(node.name) else split(done, node))

        return verify

    def _check(
        self, goal: str, real: Callable[[Mapping[str, Any]], Awaitable[str | None]]
    ) -> Callable[[Mapping[str, Any]], Awaitable[str | None]]:
        script = self._checks.get(goal)

        async def check(values: Mapping[str, Any]) -> str | None:
            self._go_on()
            if script is not None and script.used:
                verdict = await self._play(script, values, script.name)
                return None if verdict is True else verdict or f"the check of {goal!r} is false"
            return None if self._passes else await real(values)

        return check


async def _not_bound(inputs: Mapping[str, Any], context: CallContext) -> Any:
    raise UnexpectedCallError(f"{context.node} is not bound in this test")


def _given(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shortened(value)}" for name, value in inputs.items()) or "nothing"


def _refuse_unknown(kind: str, name: str, known: Mapping[str, Any]) -> None:
    __tracebackhide__ = True
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the {kind}s are {', '.join(known)}"
        raise InputError(f"there is no {kind} {name!r}; {hint}")
