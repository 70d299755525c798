"""A process with this folder in its PYTHONPATH has other clocks than this machine.

The time of day is off by CHAOS_CLOCK_SHIFT seconds. The monotonic clock, which trio goes by, runs CHAOS_CLOCK_RATE
times as fast: hours pass in seconds, while pauses take as long as ever.
"""

from __future__ import annotations

import os
import time

_time, _perf_counter = time.time, time.perf_counter
_shift = float(os.environ.get("CHAOS_CLOCK_SHIFT", "0"))
_rate = float(os.environ.get("CHAOS_CLOCK_RATE", "1"))
time.time = lambda: _time() + _shift
if _rate != 1:
    time.perf_counter = lambda: _perf_counter() * _rate
