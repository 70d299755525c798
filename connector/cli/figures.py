"""Amounts and times for reading."""

from __future__ import annotations

_STEPS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def amount(size: float) -> str:
    """Return a number of bytes for reading: ``1.23 GB`` (powers of ten, like the MB/s beside it)."""
    for unit, factor in _STEPS:
        if size >= factor:
            return f"{size / factor:.2f} {unit}" if size < 100 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} B"


def span(seconds: float) -> str:
    """Return a time for reading: ``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
