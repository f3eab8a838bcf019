"""When a change is published: at once while all is quiet, and ever less often while changes follow each other.

The state machine of RFC 8405, which routers use so that a flapping link does not make them compute all day:

    quiet  a first change is published after `quiet`, and short begins
    short  changes are published `short` after the first of them; after `learn` of this, long begins
    long   changes are published `long` after the first of them
    any    `hold` without a change, and all is quiet again

A wait that has begun is never put off, so that nothing starves. What a monitor of a user bars waits for none of it:
it is somebody's word and no flapping measurement, and may keep a call from being made. A failed call in hand never
waits for any of it either: that is an exclusion of its own run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.policy import Health

__all__ = ("Publication",)


@dataclass(frozen=True, slots=True)
class Publication:
    """Where publishing stands. Every method returns what follows; times are seconds on the caller's clock."""

    waits: Health
    state: Literal["quiet", "short", "long"] = "quiet"
    due: float | None = None
    """When what has changed is to be published; None: nothing has."""
    learnt: float | None = None
    """When changes count as a storm."""
    calm: float | None = None
    """When all is quiet again, unless something changes before."""

    def changed(self, now: float) -> Publication:
        """Something has changed."""
        at = self.elapsed(now)
        calm = now + self.waits.hold
        if at.state == "quiet":
            due = now + self.waits.quiet
            due = due if at.due is None else min(at.due, due)
            return replace(at, state="short", due=due, learnt=now + self.waits.learn, calm=calm)
        wait = self.waits.short if at.state == "short" else self.waits.long
        return replace(at, due=now + wait if at.due is None else at.due, calm=calm)

    def urgent(self, now: float) -> Publication:
        """Something has changed that cannot wait; it says nothing about a storm, and all that waits goes with it."""
        return replace(self.elapsed(now), due=now)

    def elapsed(self, now: float) -> Publication:
        """Time has gone by."""
        if self.calm is not None and now >= self.calm:
            return replace(self, state="quiet", learnt=None, calm=None)
        if self.learnt is not None and now >= self.learnt:
            return replace(self, state="long", learnt=None)
        return self

    def published(self) -> Publication:
        """What was due has been published."""
        return replace(self, due=None)

    def is_due(self, now: float) -> bool:
        """Return whether something is to be published now."""
        return self.due is not None and now >= self.due
