"""Publication: a change is published at once while all is quiet, ever less often in a storm, and always in the end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.publication import Publication
from orchestrator.policy import Health, Policy

HEALTH = Policy().health
GAPS = st.lists(
    st.sampled_from([0.0, 0.01, 0.04, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 4.9, 5.0, 9.9, 10.0, 30.0]), max_size=40
)


def waits() -> st.SearchStrategy[Health]:
    """Draw waits as people set them: quiet up to short up to long up to hold."""
    drawn = st.lists(st.integers(1, 400), min_size=4, max_size=4).map(sorted)
    return st.builds(
        lambda four, learn: HEALTH.model_copy(
            update=dict(zip(("quiet", "short", "long", "hold"), (each / 20 for each in four), strict=True))
            | {"learn": learn / 20}
        ),
        drawn,
        st.integers(0, 60),
    )


class Rfc8405:
    """The table of RFC 8405, section 5.1, written down with its own timers and events; as the oracle."""

    def __init__(self, health: Health) -> None:
        self.health = health
        self.state = "quiet"
        self.spf: float | None = None
        self.learn: float | None = None
        self.holddown: float | None = None

    def advance(self, now: float) -> list[float]:
        """Let timers expire in their order; return when SPF was computed."""
        computed: list[float] = []
        while True:
            timers = {"holddown": self.holddown, "learn": self.learn, "spf": self.spf}
            due = [(at, name) for name, at in timers.items() if at is not None and at <= now]
            if not due:
                return computed
            at, name = min(due)
            if name == "spf":
                computed.append(at)
                self.spf = None
            elif name == "learn":
                self.learn, self.state = None, "long"
            else:
                self.learn = self.holddown = None
                self.state = "quiet"

    def event(self, now: float) -> None:
        """An event of the protocol."""
        if self.state == "quiet":
            self.learn = now + self.health.learn
            wait, self.state = self.health.quiet, "short"
        else:
            wait = self.health.short if self.state == "short" else self.health.long
        self.holddown = now + self.health.hold
        self.spf = now + wait if self.spf is None else min(self.spf, now + wait)


def published(health: Health, gaps: list[float]) -> tuple[list[float], list[float]]:
    """Have something change after each gap; return when it changed, and when it was published."""
    at, now = Publication(health), 0.0
    changes, publications = [], []
    for gap in [*gaps, 1e6]:
        end = now + gap
        while at.due is not None and at.due <= end:
            now = at.due
            publications.append(now)
            at = at.elapsed(now).published()
        now = end
        if gap < 1e6:
            changes.append(now)
            at = at.changed(now)
    return changes, publications


@given(waits(), GAPS)
def test_it_is_the_machine_of_the_rfc(health: Health, gaps: list[float]) -> None:
    """The same changes are published at the same moments as by RFC 8405's table with its timers."""
    oracle, now, expected = Rfc8405(health), 0.0, []
    for gap in gaps:
        now += gap
        expected += oracle.advance(now)
        oracle.event(now)
    expected += oracle.advance(now + 1e6)
    assert published(health, gaps)[1] == pytest.approx(expected)


@given(waits(), GAPS)
def test_nothing_is_published_too_soon_and_nothing_starves(health: Health, gaps: list[float]) -> None:
    """Each publication is one wait after the first change that it tells, and at most the longest one."""
    changes, publications = published(health, gaps)
    told = -1.0
    for at in publications:
        first = next(change for change in changes if change > told or (change == told and at > told))
        assert at >= first + health.quiet - 1e-9
        assert at <= first + health.long + 1e-9
        told = at
    assert not changes or publications[-1] >= changes[-1]


@given(waits())
def test_a_storm_is_published_rarely(health: Health) -> None:
    """While something changes all the time, publications are `long` apart once it has gone on for `learn`."""
    _, publications = published(health, [health.quiet / 3] * 3000)
    late = [at for at in publications if at > health.quiet + health.learn + health.short]
    assert all(after - before >= health.long - 1e-9 for before, after in pairwise(late))


def test_a_single_change_waits_50_ms() -> None:
    """With the default figures: 50 ms when all was quiet, 200 ms for what follows, 5 s in a storm, then quiet again."""
    changes, publications = published(HEALTH, [1.0, 0.1, 0.5, 0.1, 20.0])
    waited = [round(at - changes[i], 3) for at, i in zip(publications, (0, 1, 2, 4), strict=True)]
    assert waited == [0.05, 0.2, 5.0, 0.05]
