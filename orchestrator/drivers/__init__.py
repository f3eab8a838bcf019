"""Drivers: they carry out what a run machine asks for, and tell it what happened."""

from __future__ import annotations

__all__ = ()
