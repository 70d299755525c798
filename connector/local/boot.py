"""Which boot of this machine it is: what was written but not synced is there as long as it lasts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PLACE = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str | None:
    """An id that no other boot of any machine has; ``None`` where the system has no such thing (Linux has)."""
    try:
        return _PLACE.read_text().strip() or None
    except (OSError, ValueError):
        return None
