"""How long each phase of a request may take."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any

import attrs
import httpx


class Phase(enum.Enum):
    """What a request is waiting for, with the words and the httpx error for having waited too long."""

    POOL = "no connection became free"
    CONNECT = "the connection was not established"
    WRITE = "the request was not taken"
    READ = "the answer was not complete"

    @property
    def timeout(self) -> type[httpx.TimeoutException]:
        """The exception class that httpx has for this phase."""
        return _TIMEOUTS[self]


_TIMEOUTS: Mapping[Phase, type[httpx.TimeoutException]] = {
    Phase.POOL: httpx.PoolTimeout,
    Phase.CONNECT: httpx.ConnectTimeout,
    Phase.WRITE: httpx.WriteTimeout,
    Phase.READ: httpx.ReadTimeout,
}


@attrs.frozen
class Deadlines:
    """Seconds, ``math.inf`` for no limit.

    ``connect`` covers name resolution, TCP and TLS handshake together; ``read`` and ``write`` are idle times
    (they start anew with every byte that moves); ``pool`` is the wait for a free connection; ``whole`` is the
    time from the call to the last byte of the answer.
    """

    connect: float = math.inf
    read: float = math.inf
    write: float = math.inf
    pool: float = math.inf
    whole: float = math.inf

    @classmethod
    def from_extensions(cls, extensions: Mapping[str, Any]) -> Deadlines:
        """Read httpx's ``timeout`` extension and our own ``deadline_seconds``."""
        timeout: Mapping[str, float | None] = extensions.get("timeout") or {}
        return cls(
            connect=_seconds(timeout.get("connect")),
            read=_seconds(timeout.get("read")),
            write=_seconds(timeout.get("write")),
            pool=_seconds(timeout.get("pool")),
            whole=_seconds(extensions.get("deadline_seconds")),
        )


def _seconds(value: float | None) -> float:
    return math.inf if value is None else float(value)
