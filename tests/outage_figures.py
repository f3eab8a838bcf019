"""Published figures of real outages and of real traffic, the few that the simulation over time draws from.

Outages: aggregate figures computed from the status pages of public LLM services, 2021-02 to 2024-08, as collected by
Chu, Talluri, Lu and Iosup, "An Empirical Characterization of Outages and Incidents in Public Services for Large
Language Models", ICPE 2025 (github.com/atlarge-research/llm-service-analysis, commit 36c4598). That collection states
no licence; no row of it is here, only facts computed from it.

Traffic: Azure LLM inference trace 2023, conversations, 19,366 requests in 3,502 s, CC BY 4.0, Microsoft
(github.com/Azure/AzurePublicDataset, commit b469a11). ``tests/data/arrivals.csv`` holds the requests per second;
`LENGTHS` the quantiles of the tokens that were generated.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from statistics import NormalDist

__all__ = ("LENGTHS", "OTHER_PROVIDER", "OUTAGE", "SAME_PROVIDER", "arrivals_per_second", "length", "outage_seconds")

OUTAGE = (4.36, 1.189)
"""Log-normal of the minutes of an incident, mu and sigma: 365 incidents of OpenAI, median 77 min, p90 323 min."""

SAME_PROVIDER = 0.60
"""Chance that a service has an outage on a day on which another service of its provider has one."""

OTHER_PROVIDER = 0.06
"""The same for a service of another provider."""

LENGTHS = (7, 41, 54, 67, 77, 85, 91, 96, 103, 113, 129, 151, 177, 217, 384, 395, 400, 411, 424, 451, 1000)
"""Generated tokens per request: the quantiles at 0, 5, ... 100 %."""


def outage_seconds(luck: float, least: float, most: float) -> float:
    """Return how long an outage lasts, drawn by *luck* in [0, 1) from what lies between *least* and *most* seconds."""
    mu, sigma = OUTAGE
    normal = NormalDist(mu + math.log(60.0), sigma)
    low, high = normal.cdf(math.log(least)), normal.cdf(math.log(most))
    return math.exp(normal.inv_cdf(low + luck * (high - low)))


def length(luck: float) -> float:
    """Return how long an answer is, as a share of the mean one (211 tokens)."""
    at = luck * (len(LENGTHS) - 1)
    below = LENGTHS[int(at)]
    return (below + (LENGTHS[int(at) + 1] - below) * (at - int(at))) / 211.0


@cache
def arrivals_per_second() -> tuple[int, ...]:
    """Return the requests of every second of the trace."""
    lines = (Path(__file__).parent / "data" / "arrivals.csv").read_text(encoding="utf-8").splitlines()
    return tuple(int(count) for line in lines if not line.startswith("#") for count in line.split(","))
