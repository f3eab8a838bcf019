"""Classifiers: what each looks at in a post and how sure it is that the post must go, from 0 to 1.

``python -m desk.classifiers toxicity --ledger toxicity.db`` serves one of them; its ledger says what it was asked.
They are as simple as may be, and real: each one reads the post that it is given.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any

from shared.providers import Entry, serve

__all__ = ("CLASSIFIERS", "image", "main", "score", "spam", "text", "toxicity")

BANNED = frozenset({"contraband", "counterfeit", "forgery"})
ABUSE = frozenset({"idiot", "idiots", "scum", "vermin", "worthless"})
KNOWN_IMAGE = "0000f7c781a1f70f"
"""The fingerprint of a picture that was removed before."""
LURES = ("free", "click", "winner", "http://", "https://")


def image(image: str) -> float:
    """Compare a picture's fingerprint (64 bits, in hexadecimal) with that of a known one: 1 if no bit differs."""
    different = (int(image, 16) ^ int(KNOWN_IMAGE, 16)).bit_count()
    return max(0.0, 1.0 - different / 16)


def text(text: str) -> float:
    """Look for goods that may not be offered."""
    return 0.9 if BANNED & _words(text) else 0.0


def toxicity(text: str) -> float:
    """Look for abuse: the more of it, the surer."""
    found = len(ABUSE & _words(text))
    return 1.0 - 0.3**found


def spam(text: str) -> float:
    """Look for what lures: links, promises, capitals."""
    letters = [character for character in text if character.isalpha()]
    shouted = sum(character.isupper() for character in letters) > len(letters) / 2
    return min(1.0, 0.3 * sum(lure in text.lower() for lure in LURES) + 0.3 * shouted)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


CLASSIFIERS: Mapping[str, Callable[[str], float]] = {"image": image, "text": text, "toxicity": toxicity, "spam": spam}
"""Those that run in a process of their own; each reads the post's picture or its text."""


def score(name: str, post: Mapping[str, Any]) -> Entry:
    """Return what a classifier says of a post."""
    read = "image" if name == "image" else "text"
    return {"score": round(CLASSIFIERS[name](post[read]), 2)}


def main() -> None:
    """Serve the classifier that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m desk.classifiers", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=CLASSIFIERS)
    parser.set_defaults(collection="scores")
    serve(parser, score)


if __name__ == "__main__":
    main()
