"""Health over time: one stream of requests, one world that breaks, and routers that remember different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

from tests.bench.report import Bar, Section, Table
from tests.health_measures import MEASURES, SCALES, Measured, compare, dominated, losses
from tests.health_routers import ROUTERS
from tests.health_world import SCENARIOS

__all__ = ("REPORTED", "TUNED", "measure", "section")

TUNED = range(1, 7)
"""Seeds that the default figures were chosen on. They are not reported."""

REPORTED = range(301, 307)
"""Seeds of the report: nothing was chosen on them. 101 to 106 and 201 to 206 were given up, for rules were still
changed when they had been looked at."""

OURS = "ours"

Found = Mapping[str, Mapping[str, Measured]]

HEADINGS = {
    "unanswered": "unanswered, %",
    "wasted": "failed calls per 1,000",
    "seconds": "mean s",
    "detect": "to detect, s",
    "recover": "to recover, s",
    "false": "false ejections per h",
    "needless": "needless give-ups per 1,000",
    "swing": "swing of share",
    "cents": "cents",
}


def measure() -> Section:
    """Play every scenario with every router."""
    return section(compare(SCENARIOS, REPORTED))


def section(found: Found) -> Section:
    """Say what was measured."""
    lost = {name: losses(measured) for name, measured in found.items()}
    sums = {router: sum(lost[name][router] for name in found) for router in ROUTERS}
    beaten = {name: dominated(measured, OURS) for name, measured in found.items()}
    best = min(sums, key=lambda router: sums[router])
    rivals = min((router for router in sums if router != OURS), key=lambda router: sums[router])
    dominators = "; ".join(f"{name}: by {', '.join(by)}" for name, by in beaten.items() if by)
    bars = [
        Bar("ours is dominated in no scenario", dominators or f"none of {len(found)}", not dominators),
        Bar(
            "ours loses least in the sum of all scenarios",
            f"{sums[OURS]:.2f}; next: {rivals} {sums[rivals]:.2f}",
            best == OURS,
        ),
    ]
    summary = [
        (name, *(_marked(lost[name][router], min(lost[name].values())) for router in ROUTERS), _weakness(found[name]))
        for name in found
    ]
    summary.append(("sum", *(_marked(sums[router], sums[best]) for router in ROUTERS), ""))
    rows = [
        (name, router, *(f"{figure:.{_digits(which)}f}" for which, figure in zip(MEASURES, astuple(one), strict=True)))
        for name, measured in found.items()
        for router, one in measured.items()
    ]
    scales = ", ".join(f"{HEADINGS[name]} {scale:g}" for name, scale in zip(MEASURES, astuple(SCALES), strict=True))
    text = (
        "Four substitutes of three providers, one stream of requests (Azure's LLM trace of 2023, thinned), outages\n"
        "as long and as correlated as real ones (`tests/outage_figures.py`), on a virtual clock; every router meets\n"
        "the same requests and the same luck. *Ours* is the run machine with one board for all runs; *no health* is\n"
        "the same machine without it; *gateway cooldown* is LiteLLM's rule (5 s out on a 429, or when more than half\n"
        "of a calendar minute has failed), here kind enough never to repeat a node within a request.\n\n"
        f"Means over {len(REPORTED)} seeds; the default figures were chosen on others. A *loss* is the distance from\n"
        "the best router in a measure, in scales that are the same for all and at most 1, averaged over the measures.\n"
        f"Scales: {scales}.\n"
        "The last column says where ours is not the best, and by how much of a scale."
    )
    tables = [
        Table(("loss", *ROUTERS, "where ours is not the best"), summary),
        Table(("scenario", "router", *(HEADINGS[name] for name in MEASURES)), rows),
    ]
    return Section("Health over time", text, tables, bars)


def _marked(loss: float, best: float) -> str:
    return f"**{loss:.3f}**" if loss <= best else f"{loss:.3f}"


def _digits(measure: str) -> int:
    return {"wasted": 0, "detect": 0, "recover": 0, "false": 1, "needless": 1}.get(measure, 2)


def _weakness(measured: Mapping[str, Measured]) -> str:
    """Say in which measures ours is behind the best by more than a twentieth of the scale."""
    best = [min(figures) for figures in zip(*map(astuple, measured.values()), strict=True)]
    behind = [
        (name, (mine - least) / scale)
        for name, mine, least, scale in zip(MEASURES, astuple(measured[OURS]), best, astuple(SCALES), strict=True)
    ]
    return ", ".join(f"{name} {share:.2f}" for name, share in behind if share > 0.05)
