"""Chance without a random stream: a number that is a hash of what it is for.

A stream of random numbers depends on who drew from it before; a hash of (seed, node, attempt) does not. So a fault
or a jittered wait is the same whatever else happened, in any process and under any hash seed.
"""

from __future__ import annotations

import hashlib
import json

__all__ = ("seed_of", "unit_interval")


def unit_interval(*parts: str | int) -> float:
    """Return a number in [0, 1), evenly spread, that depends on *parts* and on nothing else.

    >>> unit_interval(7, "search", 1) == unit_interval(7, "search", 1)
    True
    """
    # JSON keeps ("a", "b") and ("ab",) apart, and 1 and "1" too; 53 bits are all that a float in [0, 1) holds.
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def seed_of(name: str) -> int:
    """Return the seed of a run that is given none, from its id."""
    return int(unit_interval("seed", name) * 2**31)
