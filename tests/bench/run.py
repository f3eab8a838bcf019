"""Run the benchmarks and write the page: ``python -m tests.bench.run --output BENCHMARKS.md``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from tests.bench import attempts, durable, monitors, outages, planning, quality, rerouting, simulating, starting
from tests.bench.report import Section, page

__all__ = ("main",)

SECTIONS: dict[str, Callable[[], Section]] = {
    "planning": planning.measure,
    "quality": quality.measure,
    "rerouting": rerouting.measure,
    "attempts": attempts.measure,
    "durable": durable.measure,
    "monitors": monitors.measure,
    "simulating": simulating.measure,
    "outages": outages.measure,
    "starting": starting.measure,
}


def main() -> None:
    """Measure what is asked for and write it down."""
    parser = argparse.ArgumentParser(prog="tests.bench.run", description=__doc__)
    parser.add_argument("--output", type=Path, help="the page; default: standard output")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure this section; may be repeated")
    options = parser.parse_args()
    began = perf_counter()
    sections = []
    for name in options.only or SECTIONS:
        at = perf_counter()
        sections.append(SECTIONS[name]())
        print(f"{name}: {perf_counter() - at:.0f} s", file=sys.stderr, flush=True)
    text = page(sections, perf_counter() - began)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
