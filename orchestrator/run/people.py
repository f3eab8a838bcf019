"""People and models answer: what their answers do to a run, and what happens when nobody answers in time.

People are asked at quiescence, all open questions at once; the run then waits, and waiting costs it nothing: the time
does not count against its limit. A refusal is a fact of the run: the node is excluded, and the run goes another way.
"""

from __future__ import annotations

import math

from orchestrator.events import Absorbed, Answered, ModelAnswered, Option, QuestionAsked, RunFinished, Value, Warned
from orchestrator.run.commands import Finish, WakeAt
from orchestrator.run.context import Context
from orchestrator.run.escalation import by_policy, chosen, end, options
from orchestrator.run.recovery import exclude, replan
from orchestrator.run.settling import settle

__all__ = ("after", "go_on", "overdue", "questions", "take_answer", "wait_for_people")


def after(deadline: float) -> float:
    """Return the first moment after a deadline: what ends exactly at it is in time."""
    return math.nextafter(deadline, math.inf)


# --------------------------------------------------------------------------------------------------------------- asking


def wait_for_people(run: Context) -> bool:
    """Ask everything that is open, all at once; False where there is nothing to ask."""
    state = run.state
    open_ = questions(run)
    if not open_:
        return False
    answers = state.take_open()
    if answers:
        run.emit(Absorbed(state.count("absorb"), answers))
    for question in open_:
        run.emit(question)
        if question.until is not None:
            state.until[question.question] = question.until
            run.command(WakeAt(question.until))
    state.phase, state.waiting_since = "waiting", state.at
    undone = {name for name, done in state.undone if done}
    route = tuple(name for name in state.finished if name not in undone)
    run.emit(RunFinished("waiting", None, route, (), tuple(state.undone), "waiting for a person"))
    run.command(Finish())
    return True


def questions(run: Context) -> list[QuestionAsked]:
    """Return everything that only people can answer now."""
    return [*_to_settle(run), *_to_approve(run), *_to_decide(run)]


def _to_settle(run: Context) -> list[QuestionAsked]:
    state = run.state
    return [
        QuestionAsked(
            f"settle:{name}",
            "settle",
            name,
            "the call was lost on the way: did it happen?",
            run.passed(name, state.inputs[name]),
            ("yes", "no"),
            _until(run, f"settle:{name}"),
        )
        for name in state.unresolved
        if name not in state.left_open
    ]


def _to_approve(run: Context) -> list[QuestionAsked]:
    return [
        QuestionAsked(
            f"approve:{name}",
            "approve",
            name,
            asked.reason,
            run.passed(name, asked.inputs),
            ("yes", "no", "edit"),
            _until(run, f"approve:{name}"),
        )
        for name, asked in run.state.asked_for.items()
    ]


def _to_decide(run: Context) -> list[QuestionAsked]:
    pending = run.state.pending
    if pending is None:
        return []
    question = f"decide:{pending.n}"
    listed = tuple(option.id for option in pending.options)
    return [
        QuestionAsked(
            question, "decide", run.state.goal, pending.reason, (), ("yes", "no", *listed), _until(run, question)
        )
    ]


def _until(run: Context, question: str) -> float | None:
    """Return when a question is overdue: asked again, it keeps the time of the first asking."""
    deadline = run.policy.people.deadline
    return None if deadline is None else run.state.until.get(question, run.state.at + deadline)


# ------------------------------------------------------------------------------------------------------------ answering


def take_answer(run: Context, fact: Answered | ModelAnswered) -> None:
    """Take in an answer; one to a question that is not open changes nothing."""
    if isinstance(fact, ModelAnswered):
        _model_answered(run, fact)
        return
    kind, _, subject = fact.question.partition(":")
    match kind:
        case "approve":
            taken = _approved(run, subject, fact)
        case "settle":
            taken = _settled(run, subject, fact)
        case _:
            taken = _decided(run, fact)
    if taken:
        run.state.until.pop(fact.question, None)


def go_on(run: Context) -> None:
    """Leave the wait for people: the time of it does not count against the run's limit."""
    state = run.state
    if state.phase != "waiting":
        return
    state.phase = "running"
    state.waited += state.at - state.waiting_since
    if run.deadline is not None:
        run.command(WakeAt(after(run.deadline)))


def _approved(run: Context, name: str, fact: Answered) -> bool:
    state = run.state
    asked = state.asked_for.get(name)
    if asked is None or fact.answer not in ("yes", "no", "edit"):
        return False
    if fact.answer == "edit":
        given = {
            f"{name}.{parameter}": (parameter, provider) for parameter, _, provider in run.passed(name, asked.inputs)
        }
        if not fact.values or any(value.name not in given for value in fact.values):
            return False
        edits = {given[value.name][0]: (value.name, given[value.name][1]) for value in fact.values}
        state.edits[name] = {**state.edits.get(name, {}), **edits}
    go_on(run)
    del state.asked_for[name]
    if fact.answer == "no":
        refuse(run, name, fact.reason or "a person said no")
    else:
        # A person who says yes to a call has seen all that it is given, and outranks every gate.
        seen = repr(run.provider_inputs(name) or asked.inputs)
        state.cleared[f"gate:{name}"] = state.cleared[f"yes:{name}"] = seen
    return True


def refuse(run: Context, name: str, reason: str) -> None:
    """Exclude a node that may not be called, and go another way."""
    exclude(run, name, f"refused: {reason}")
    if run.state.route is not None and name in run.state.route.uses:
        replan(run, "refused", name, reason)


def _settled(run: Context, name: str, fact: Answered) -> bool:
    state = run.state
    if name not in state.unresolved or fact.answer not in ("yes", "no"):
        return False
    node = run.node(name)
    values = tuple(value for value in fact.values if value.name in node.provides)
    if node.pure:
        values = tuple(Value(value) for value in node.provides)
    go_on(run)
    state.left_open.pop(name, None)
    done = fact.answer == "yes"
    settle(run, name, done, values if done else (), "person", useful=bool(values))
    return True


def _decided(run: Context, fact: Answered) -> bool:
    state = run.state
    pending = state.pending
    if pending is None or pending.asked is not None or fact.question != f"decide:{pending.n}":
        return False
    option = _option(pending.options, fact)
    if option is None or not _fitting(option, fact.values):
        return False
    go_on(run)
    _take(run, option, "person", fact.reason, fact.values)
    return True


def _option(listed: tuple[Option, ...], fact: Answered) -> Option | None:
    """Return the option that a person chose; yes is the first one, no is to give up."""
    ids = {"yes": listed[0].id, "no": "give_up"}
    return next((option for option in listed if option.id == ids.get(fact.answer, fact.answer)), None)


def _fitting(option: Option, values: tuple[Value, ...]) -> bool:
    return option.decision != "supply" or tuple(value.name for value in values) == option.names


def _model_answered(run: Context, fact: ModelAnswered) -> None:
    """Take in what the model answered; the policy decides where that is none of the options that are open now."""
    state = run.state
    state.usd += fact.usd
    state.model_usd += fact.usd
    pending = state.pending
    if pending is None or pending.asked is None or pending.n != fact.n or state.phase != "running":
        return
    option = next((option for option in pending.options if option.id == fact.choice), None)
    if option is None or not _fitting(option, fact.values):
        _take(run, None, "policy", None, ())
    else:
        _take(run, option, "model", fact.reason or None, fact.values)


def _take(run: Context, option: Option | None, by: str, words: str | None, values: tuple[Value, ...]) -> None:
    """Carry out what was decided, if it is still to be decided and leads on; else go on, or ask or decide again."""
    state = run.state
    pending = state.pending
    assert pending is not None
    if run.plan(state.goal).feasible:
        replan(run, "answered", None, "a route was found meanwhile")
        return
    now = options(run, "person" if by == "person" else "model")
    if option is not None and option in now:
        state.pending = None
        chosen(run, option, pending.reason, "person" if by == "person" else "model", words=words, values=values)
    elif by == "person":
        pending.options = now  # asked again, with what is open now
    else:
        state.pending = None
        by_policy(run, pending.reason)


# -------------------------------------------------------------------------------------------------------------- overdue


def overdue(run: Context) -> None:
    """Answer by the policy what nobody answered in time."""
    state = run.state
    late = [question for question, until in state.until.items() if until <= state.at]
    if not late:
        return
    go_on(run)
    if run.policy.people.overdue == "cancel":
        end(run, "nobody answered in time", cancelled=True)
        return
    for question in late:
        del state.until[question]
        kind, _, subject = question.partition(":")
        if state.phase != "running":
            return
        if kind == "approve" and subject in state.asked_for:
            del state.asked_for[subject]
            refuse(run, subject, "nobody answered in time")
        elif kind == "settle" and subject in state.unresolved:
            state.left_open[subject] = True
            run.emit(Warned(subject, f"nobody said in time whether {subject} happened"))
            replan(run, "unknown", subject, "nobody answered in time")
        elif state.pending is not None and question == f"decide:{state.pending.n}":
            pending, state.pending = state.pending, None
            by_policy(run, pending.reason)
