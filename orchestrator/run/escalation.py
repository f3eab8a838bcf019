"""Escalation: no feasible route to the asked goal is left, and something else has to be decided.

The answer is one of a closed set of `Option`s, each of which was found to lead on when it was offered: demote to a
listed goal, give excluded nodes one more attempt, supply a value, ask a person, give up. A model or a person decides
where the policy says so; the policy's own rule (the best lower goal, else give up) decides in all other cases and
stands in for a model that is absent, down, slow, over its budget, or answers anything but a listed option.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from orchestrator.events import Escalated, ModelAsked, Option, RunEnded, Value
from orchestrator.graph import INPUT
from orchestrator.planner import Route
from orchestrator.planner.behind import values_behind
from orchestrator.run.commands import AskModel
from orchestrator.run.context import CHECKS, Context
from orchestrator.run.routing import adopt, last_chance, planned, take_chance
from orchestrator.run.state import Pending

__all__ = ("by_policy", "chosen", "end", "escalate", "options", "still_open")

Decider = Literal["policy", "model", "person"]

SUPPLIED = 20
"""How many values a person is offered to supply."""
TRIED = 100
"""How many are tried for that: each one costs a plan."""


def escalate(run: Context, infeasible: Route) -> None:
    """Decide what to do instead, or ask who decides."""
    state, policy = run.state, run.policy.escalation
    state.pending = None
    # When the time is up, nobody is asked: whatever else stands in the way, there is no time for a way round it.
    reason = "limit:seconds" if state.expired else infeasible.reason or "unreachable"
    if reason not in ("limit:seconds", "limit:reroutes", "check") and _ask_to_settle(run):
        return
    if reason == "unreachable":
        reason = _stopped_by(run) or reason
    if not reason.startswith("limit:"):
        if policy.by == "person":
            ask_person(run, reason, "policy")
            return
        if policy.by == "model" and _ask_model(run, reason):
            return
    by_policy(run, reason)


def _stopped_by(run: Context) -> str | None:
    """Return the limit without whose guard there would be a route, if it is one that leaves none."""
    stopped = {name: found.reason for name, found in run.state.excluded.items() if found.reason.startswith("limit:")}
    if stopped and run.plan(run.state.goal, lift=tuple(stopped)).reason != "unreachable":
        return list(stopped.values())[-1]
    return None


def _ask_to_settle(run: Context) -> bool:
    """Wait for a person where settling an open `once` outcome would make a route."""
    state = run.state
    if not any(not found.verifying and name not in state.left_open for name, found in state.unresolved.items()):
        return False
    route = run.plan(state.goal, settled=True)
    if not route.feasible:
        return False
    _escalated(run, "policy", "ask", "an outcome is unknown")
    adopt(run, route)
    return True


# ---------------------------------------------------------------------------------------------------------- who decides


def by_policy(run: Context, reason: str) -> None:
    """Decide by the policy's rule: demote to the best lower goal that can be reached, else give up."""
    goal = next(_lower_goals(run), None)
    if goal is not None:
        _demote(run, goal, reason, "policy")
    elif reason.startswith("limit:"):
        end(run, reason)
    else:
        _give_up(run, reason, "policy")


def _ask_model(run: Context, reason: str) -> bool:
    """Ask the model; False where it may not be asked any more, or there is nothing to choose."""
    state, policy = run.state, run.policy.escalation
    spent = policy.usd is not None and state.model_usd >= policy.usd
    if policy.model is None or spent or state.counts.get("model", 0) >= policy.calls:
        return False
    offered = options(run, "model")
    if all(option.decision in ("ask", "give_up") for option in offered):
        return False
    n = state.count("model")
    state.unanswered.append(n)
    question = ModelAsked(
        n,
        policy.model,
        state.goal,
        reason,
        offered,
        tuple((value, provider) for value, providers in state.held.items() for provider in providers),
        tuple(found for found in state.failed if found[0] not in state.finished),
        tuple((name, found.reason) for name, found in state.excluded.items()),
    )
    run.emit(question)
    run.command(AskModel(n, question, policy.timeout))
    state.pending = Pending(n, reason, offered, question)
    return True


def ask_person(run: Context, reason: str, by: Decider, words: str | None = None) -> None:
    """Have a person decide, once nothing is in flight any more; what else was to be asked is of no use meanwhile."""
    state = run.state
    _escalated(run, by, "ask", reason, words=words)
    state.asked_for = {}
    state.pending = Pending(state.count("decide"), reason)


# ------------------------------------------------------------------------------------------------------- the closed set


def options(run: Context, by: Decider) -> tuple[Option, ...]:
    """Return what may be decided now; each one leads to a route, except to ask and to give up."""
    found = [Option(f"demote:{goal}", "demote", (goal,)) for goal in _lower_goals(run)]
    found += [Option(f"retry:{','.join(names)}", "retry", names) for names in _retries(run, by)]
    found += [Option(f"supply:{value}", "supply", (value,)) for value in _supplies(run, by)]
    if by == "model":
        found.append(Option("ask", "ask"))
    return (*found, Option("give_up", "give_up"))


def still_open(run: Context, option: Option, by: Decider) -> bool:
    """Whether an option that was offered leads on now as well."""
    state, goal = run.state, run.state.goal
    match option.decision:
        case "demote":
            return _reachable(run, option.names[0])
        case "retry":
            retryable = all(name in state.excluded and _retryable(run, name, by) for name in option.names)
            return retryable and run.plan(goal, lift=option.names).feasible
        case "supply":
            return _helps(run, option.names[0])
        case "ask" | "give_up":
            return True


def _lower_goals(run: Context) -> Iterator[str]:
    """Yield the goals that the run may be demoted to, the best one first."""
    if run.policy.escalation.demote:
        goals = [goal.name for goal in run.graph.goals]
        yield from (goal for goal in goals[goals.index(run.state.goal) + 1 :] if _reachable(run, goal))


def _reachable(run: Context, goal: str) -> bool:
    return run.plan(goal).feasible or last_chance(run, goal) is not None


def _retries(run: Context, by: Decider) -> list[tuple[str, ...]]:
    """Return the smallest sets of excluded nodes that make a route if each gets one more attempt."""
    goal = run.state.goal
    excluded = [name for name in run.state.excluded if _retryable(run, name, by)]
    alone: list[tuple[str, ...]] = [(name,) for name in excluded if run.plan(goal, lift=(name,)).feasible]
    if alone or not excluded or not run.plan(goal, lift=tuple(excluded)).feasible:
        return alone
    kept = excluded
    for name in excluded:
        without = tuple(other for other in kept if other != name)
        if run.plan(goal, lift=without).feasible:
            kept = list(without)
    return [tuple(kept)]


def _retryable(run: Context, name: str, by: Decider) -> bool:
    state = run.state
    undone = any(name == other for other, _ in state.undone)
    if name in state.finished or name in state.effects or name in state.unresolved or undone:
        return False  # its effect happened, or may have
    failed = state.excluded[name].reason.startswith("excluded:")
    if by == "person":
        return failed or state.excluded[name].reason.startswith("refused")
    return failed and run.node(name).effect in ("read", "idempotent")


def _supplies(run: Context, by: Decider) -> list[str]:
    """Return the values with which there would be a route; a model only those that the policy lists."""
    behind = values_behind(run.graph, run.state.goal)
    own = run.graph.goal_by_name[run.state.goal].values
    wanted = run.policy.escalation.supply if by == "model" else (*own, *run.graph.values)
    tried = islice((value for value in dict.fromkeys(wanted) if value in behind), TRIED)
    return sorted(islice((value for value in tried if _helps(run, value)), SUPPLIED))


def _helps(run: Context, value: str) -> bool:
    """Whether there would be a route if *value* were given from outside."""
    return INPUT not in run.state.held.get(value, {}) and run.plan(run.state.goal, supplied=value).feasible


# ------------------------------------------------------------------------------------------------------------ decisions


def chosen(
    run: Context, option: Option, reason: str, by: Decider, *, words: str | None, values: tuple[Value, ...] = ()
) -> None:
    """Carry out an option that was found to be open still."""
    state = run.state
    match option.decision:
        case "demote":
            _demote(run, option.names[0], reason, by, words)
        case "retry":
            _escalated(run, by, "retry", reason, nodes=option.names, words=words)
            for name in option.names:
                del state.excluded[name]
                state.lifted[name] = True
            _go_on(run, "escalated")
        case "supply":
            (value,) = values
            _escalated(run, by, "supply", reason, value=value.name, words=words)
            state.held.setdefault(value.name, {})[INPUT] = value
            if state.failed_checks.get(state.goal, 0) > CHECKS:
                state.failed_checks[state.goal] = CHECKS  # the check looks once more
            _go_on(run, "escalated")
        case "ask":
            ask_person(run, reason, by, words)
        case "give_up":
            _give_up(run, reason, by, words)


def _go_on(run: Context, trigger: Literal["escalated", "demoted"]) -> None:
    route = run.plan(run.state.goal)
    chance = None if route.feasible else last_chance(run, run.state.goal)
    if chance is not None:
        take_chance(run, run.state.goal, chance)
        return
    adopt(run, route)
    planned(run, route, trigger)


def _demote(run: Context, goal: str, reason: str, by: Decider, words: str | None = None) -> None:
    run.state.count("demotion")
    _escalated(run, by, "demote", reason, goal=goal, words=words)
    run.state.goal = goal
    _go_on(run, "demoted")


def _give_up(run: Context, reason: str, by: Decider, words: str | None = None) -> None:
    """Fail the run: no listed goal can be reached, or nobody wants one."""
    _escalated(run, by, "give_up", reason, words=words)
    run.state.pending = None
    run.state.phase, run.state.outcome, run.state.reason = "closing", "failed", reason


def end(run: Context, reason: str, *, cancelled: bool = False) -> None:
    """Stop the run for a limit, or because it was cancelled."""
    state = run.state
    run.emit(RunEnded(state.count("end"), state.take_open(), reason))
    state.pending = None
    state.phase, state.outcome, state.reason = "closing", "cancelled" if cancelled else "failed", reason


def _escalated(
    run: Context,
    by: Decider,
    decision: Literal["demote", "retry", "supply", "ask", "give_up"],
    reason: str,
    *,
    goal: str | None = None,
    nodes: tuple[str, ...] = (),
    value: str | None = None,
    words: str | None = None,
) -> None:
    state = run.state
    blocked = tuple((name, found.reason) for name, found in state.excluded.items())
    number, answers = state.count("escalation"), state.take_open()
    run.emit(Escalated(number, answers, by, decision, state.goal, goal, reason, blocked, nodes, value, words))
