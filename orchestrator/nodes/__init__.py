"""How a node is called: Python functions, HTTP requests, commands; their output contracts, and what errors mean."""

from __future__ import annotations

__all__ = ()
