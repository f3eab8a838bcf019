"""Times as short as a person needs them."""

from __future__ import annotations

__all__ = ("span",)


def span(seconds: float) -> str:
    """Write a time as short as a person needs it.

    >>> [span(seconds) for seconds in (0.0, 0.0004, 0.0421, 3.14, 75.0, 7300.0, 200000.0)]
    ['0s', '<1ms', '42ms', '3.1s', '75s', '2h', '2d']
    """
    for size, unit, least in ((86400, "d", 172800), (3600, "h", 7200), (60, "m", 180)):
        if seconds >= least:
            return f"{seconds / size:.0f}{unit}"
    if seconds >= 10:
        return f"{seconds:.0f}s"
    if seconds >= 1:
        return f"{seconds:.1f}s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.0f}ms"
    return "<1ms" if seconds > 0 else "0s"
