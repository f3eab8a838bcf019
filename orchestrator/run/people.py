"""People and models answer: what their answers do to a run, and what happens when nobody answers in time.

People are asked at quiescence, all open questions at once; the run then waits, and waiting costs it nothing: the time
does not count against its limit. A refusal is a fact of the run: the node is excluded, and the run goes another way.
An answer counts only while its question is open: what was never asked, or was asked of other inputs, is not answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.events import (
    Absorbed,
    Answered,
    ModelAnswered,
    Option,
    QuestionAsked,
    RunFinished,
    Trigger,
    Value,
    Warned,
)
from orchestrator.run.commands import Finish, WakeAt
from orchestrator.run.context import Context
from orchestrator.run.escalation import by_policy, chosen, end, options, still_open
from orchestrator.run.recovery import exclude, go_another_way, replan, way_on
from orchestrator.run.routing import go_on
from orchestrator.run.settling import settle
from orchestrator.run.state import Approvable, Pending, Unresolved

__all__ = (
    "deadlines",
    "go_on_meanwhile",
    "model_answered",
    "overdue",
    "questions",
    "take_answer",
    "wait_for_people",
)


# --------------------------------------------------------------------------------------------------------------- asking


def wait_for_people(run: Context) -> bool:
    """Ask everything that is open, all at once; False where there is nothing to ask."""
    state = run.state
    if state.pending is not None:
        state.pending.options = options(run, "person")
    for asked in _open(run).values():
        if asked.until is None and run.policy.people.deadline is not None:
            asked.until = state.at + run.policy.people.deadline  # asked again, it keeps the time of the first asking
        if not isinstance(asked, Pending):
            asked.asked = True
    asking = questions(run)
    if not asking:
        return False
    answers = state.take_open()
    if answers:
        run.emit(Absorbed(state.count("absorb"), answers))
    for question in asking:
        run.emit(question)
        if question.until is not None:
            run.command(WakeAt(question.until))
    state.phase, state.waiting_since = "waiting", state.at
    undone = {name for name, done in state.undone if done}
    route = tuple(name for name in state.finished if name not in undone)
    run.emit(RunFinished("waiting", None, route, (), tuple(state.undone), "waiting for a person"))
    run.command(Finish())
    return True


def questions(run: Context) -> list[QuestionAsked]:
    """Return everything that only people can answer now."""
    return [_question(run, *key, asked) for key, asked in _open(run).items()]


def deadlines(run: Context) -> list[float]:
    """Return when the open questions are overdue."""
    return [asked.until for asked in _open(run).values() if asked.until is not None]


def _open(run: Context) -> dict[tuple[str, str], Unresolved | Approvable | Pending]:
    """Return what is open, by the kind and the subject of the question."""
    state, pending = run.state, run.state.pending
    found: dict[tuple[str, str], Unresolved | Approvable | Pending] = {
        ("settle", name): unresolved for name, unresolved in state.unresolved.items() if name not in state.left_open
    }
    found.update((("approve", name), asked) for name, asked in state.asked_for.items())
    if pending is not None and pending.asked is None:
        found["decide", str(pending.n)] = pending
    return found


def _question(run: Context, kind: str, subject: str, asked: Unresolved | Approvable | Pending) -> QuestionAsked:
    id = f"{kind}:{subject}"
    match asked:
        case Unresolved():
            inputs, reason = (
                run.passed(subject, run.state.inputs[subject]),
                "the call was lost on the way: did it happen?",
            )
            return QuestionAsked(id, "settle", subject, reason, inputs, ("yes", "no"), asked.until)
        case Approvable():
            inputs = run.passed(subject, asked.inputs)
            return QuestionAsked(id, "approve", subject, asked.reason, inputs, ("yes", "no", "edit"), asked.until)
        case Pending():
            listed = ("yes", "no", *(option.id for option in asked.options))
            return QuestionAsked(id, "decide", run.state.goal, asked.reason, (), listed, asked.until)


# ------------------------------------------------------------------------------------------------------------ answering


def take_answer(run: Context, fact: Answered) -> None:
    """Take in a person's answer; one to a question that is not open changes nothing."""
    # One that comes after the time is too late, also where nobody drove the run when the time was up.
    overdue(run, after=True)
    kind, _, subject = fact.question.partition(":")
    match kind:
        case "approve":
            _approved(run, subject, fact)
        case "settle":
            _settled(run, subject, fact)
        case "decide":
            _decided(run, subject, fact)


def _approved(run: Context, name: str, fact: Answered) -> None:
    state = run.state
    asked = state.asked_for.get(name)
    if asked is None or not asked.asked or state.phase not in ("running", "waiting"):
        return
    if fact.answer == "no":
        go_on(run)
        del state.asked_for[name]
        _refuse(run, name, fact.reason or "a person said no")
    elif fact.answer == "yes" or (fact.answer == "edit" and _edited(run, name, fact.values)):
        go_on(run)
        del state.asked_for[name]
        # A person who says yes to a call has seen all that it is given, and outranks every gate.
        state.cleared[f"gate:{name}"] = state.cleared[f"yes:{name}"] = repr(run.edited(name, asked.inputs))


def _edited(run: Context, name: str, values: tuple[Value, ...]) -> bool:
    """Take over what a person changed in the inputs of a call; False where it is none of them."""
    passed = run.passed(name, run.state.asked_for[name].inputs)
    own = {f"{name}.{parameter}": (parameter, provider) for parameter, _, provider in passed}
    if not values or any(value.name not in own for value in values):
        return False
    edits = run.state.edits.setdefault(name, {})
    for value in values:
        parameter, provider = own[value.name]
        edits[parameter] = (value.name, provider)
    run.state.count(f"edit:{name}")
    run.state.cleared.pop(f"guard:{name}", None)  # it has seen another value of this name
    return True


def _refuse(run: Context, name: str, reason: str) -> None:
    """Exclude a node that may not be called, and go another way."""
    exclude(run, name, f"refused: {reason}")
    if run.state.route is not None and name in run.state.route.uses:
        replan(run, "refused", name, reason)


def _settled(run: Context, name: str, fact: Answered) -> None:
    open_ = run.state.unresolved.get(name)
    if open_ is None or not open_.asked or fact.answer not in ("yes", "no") or run.state.phase == "finished":
        return
    node = run.node(name)
    values = tuple(value for value in fact.values if value.name in node.provides)
    if node.pure:
        values = tuple(Value(value) for value in node.provides)
    go_on(run)
    done = fact.answer == "yes"
    settle(run, name, done, values if done else (), "person", useful=bool(values))


def _decided(run: Context, n: str, fact: Answered) -> None:
    state = run.state
    pending = state.pending
    if pending is None or pending.asked is not None or n != str(pending.n):
        return
    option = _option(pending.options, fact)
    if option is None or not _fitting(option, fact.values):
        return
    go_on(run)
    if go_on_meanwhile(run):
        return
    if still_open(run, option, "person"):
        state.pending = None
        chosen(run, option, pending.reason, "person", words=fact.reason, values=fact.values)
    # Else it is asked again, with what is open now.


def _option(listed: tuple[Option, ...], fact: Answered) -> Option | None:
    """Return the option that a person chose; yes is the first one, no is to give up."""
    ids = {"yes": listed[0].id, "no": "give_up"} if listed else {}
    return next((option for option in listed if option.id == ids.get(fact.answer, fact.answer)), None)


def _fitting(option: Option, values: tuple[Value, ...]) -> bool:
    return option.decision != "supply" or tuple(value.name for value in values) == option.names


def model_answered(run: Context, fact: ModelAnswered) -> None:
    """Take in what the model answered; the policy decides where that is none of the options that are open now."""
    state = run.state
    if fact.n not in state.unanswered:
        return
    state.unanswered.remove(fact.n)
    state.usd += fact.usd
    state.model_usd += fact.usd
    pending = state.pending
    if pending is None or pending.asked is None or pending.n != fact.n or go_on_meanwhile(run):
        return
    option = next((option for option in pending.options if option.id == fact.choice), None)
    state.pending = None
    if option is not None and _fitting(option, fact.values) and still_open(run, option, "model"):
        chosen(run, option, pending.reason, "model", words=fact.reason or None, values=fact.values)
    else:
        by_policy(run, pending.reason)


def go_on_meanwhile(run: Context, trigger: Trigger = "answered", cause: str = "a route was found meanwhile") -> bool:
    """Go along a route that has come to exist while a decision was waited for, if there is one."""
    route = way_on(run)
    if route.feasible:
        go_on(run)
        go_another_way(run, route, trigger, None, cause)
    return route.feasible


# -------------------------------------------------------------------------------------------------------------- overdue


def overdue(run: Context, *, after: bool = False) -> None:
    """Answer by the policy what nobody answered in time; with *after*, what is in time at its very moment is not."""
    state = run.state
    if state.phase != "waiting":
        return
    late = list(_late(run, after))
    if not late:
        return
    go_on(run)
    if run.policy.people.overdue == "cancel":
        end(run, "nobody answered in time", cancelled=True)
        return
    for kind, subject in late:
        _answer_overdue(run, kind, subject)


def _late(run: Context, after: bool) -> Iterator[tuple[str, str]]:
    for key, asked in _open(run).items():
        if asked.until is not None and (asked.until < run.state.at or (asked.until == run.state.at and not after)):
            yield key


def _answer_overdue(run: Context, kind: str, subject: str) -> None:
    state = run.state
    if state.phase != "running" or (kind, subject) not in _open(run):
        return  # what was decided about another question has made this one needless
    match kind:
        case "settle":
            state.left_open[subject] = True
            run.emit(Warned(subject, f"nobody said in time whether {subject} happened"))
            replan(run, "unknown", subject, "nobody answered in time")
        case "approve":
            del state.asked_for[subject]
            _refuse(run, subject, "nobody answered in time")
        case _:
            pending, state.pending = state.pending, None
            assert pending is not None
            by_policy(run, pending.reason)
