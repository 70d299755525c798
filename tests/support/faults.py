"""What a fault proxy does to the traffic, decided beforehand from a seed, and what it counted."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs


@attrs.frozen
class Faults:
    """Sizes in bytes, times in seconds, fractions of requests from 0 to 1. The default is a proxy that does no harm."""

    cut_after: tuple[int, int] | None = None
    """Every connection ends after a count of bytes (both directions) drawn from these bounds."""
    refuse: float = 0.0
    """Fraction of requests that get a 503."""
    retry_after: float | None = None
    """Seconds in the Retry-After of every 503; ``None`` for no such header."""
    retry_after_as_date: bool = False
    stall: float = 0.0
    """Fraction of requests whose answer stops somewhere in its first MiB, or in its head if it has no body."""
    stall_seconds: float = 30.0
    delay: float = 0.0
    """Added before every request."""
    bytes_per_second: float | None = None
    """Limit of each connection."""
    max_concurrent: int | None = None
    """Requests at once; those above get a 503."""
    flip: float = 0.0
    """Fraction of answers with one bit of the body turned."""
    flip_uploads: float = 0.0
    """Fraction of requests with one bit of the body turned."""
    truncate: float = 0.0
    """Fraction of answers that end before the end of their body."""
    only: str = ""
    """Regular expression: requests whose method and target do not match pass unharmed (connections are cut still)."""
    seed: int = 0

    def touches(self, method: str, target: str) -> bool:
        """Whether requests like this one are meant."""
        return re.search(self.only, f"{method} {target}") is not None

    def connection(self, number: int) -> tuple[float, bool]:
        """How many bytes the connection with this number lives, and whether it ends in a reset."""
        rng = random.Random(f"{self.seed}/connection/{number}")
        if self.cut_after is None:
            return float("inf"), False
        return rng.randint(*self.cut_after), rng.random() < 0.5

    def request(self, number: int) -> Fate:
        """What happens to the request with this number, counted over all connections."""
        rng = random.Random(f"{self.seed}/request/{number}")
        return Fate(
            refused=rng.random() < self.refuse,
            stalled=rng.random() < self.stall,
            flipped=rng.random() < self.flip,
            upload_flipped=rng.random() < self.flip_uploads,
            truncated=rng.random() < self.truncate,
            place=rng.random(),
        )

    def retry_header(self, now: datetime | None = None) -> str:
        """The Retry-After line of a 503, with its line end; empty if there is to be none."""
        if self.retry_after is None:
            return ""
        if self.retry_after_as_date:
            moment = (now or datetime.now(UTC)) + timedelta(seconds=self.retry_after)
            return f"Retry-After: {format_datetime(moment, usegmt=True)}\r\n"
        return f"Retry-After: {self.retry_after:g}\r\n"


@attrs.frozen
class Fate:
    """One request's. ``place`` says where in the body it happens, from 0 (first byte) to 1."""

    refused: bool = False
    stalled: bool = False
    flipped: bool = False
    upload_flipped: bool = False
    truncated: bool = False
    place: float = 0.0


@attrs.define
class Counts:
    """What went through. ``downloaded`` and ``uploaded`` are bytes of bodies that were passed on."""

    connections: int = 0
    requests: int = 0
    downloaded: int = 0
    uploaded: int = 0
    refused: int = 0
    crowded: int = 0
    cut: int = 0
    stalled: int = 0
    flipped: int = 0
    truncated: int = 0
    concurrent: int = 0
    most_concurrent: int = 0
