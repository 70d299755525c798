"""A process with this folder in its PYTHONPATH has a time of day that is off by CHAOS_CLOCK_SHIFT seconds."""

from __future__ import annotations

import os
import time

_time = time.time
_shift = float(os.environ.get("CHAOS_CLOCK_SHIFT", "0"))
time.time = lambda: _time() + _shift
