"""The errors that the engine raises, in five families under one root.

The family names the cause: the input (`UsageError`) or this machine (`LocalError`), the archive (`RefusedError`) or the
connection to it (`BrokenError`), the data (`IntegrityError`). Each has an exit code of its own on the command line.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar

import attrs


@attrs.frozen
class RetryPolicy:
    """What the retry loop should do about an error.

    Attributes:
        again: Retrying the same step may help.
        after: Seconds to wait before that, as the server requested (`Retry-After`, more than 0); `None` leaves the wait
            to the backoff; `0` means at once, as for an address that was refused and is fetched again.
        restart: The step cannot succeed any more, but the transfer may if it is restarted from its preparation; names
            the cause, and each cause restarts a transfer once.
        expected: Reported only if it happens twice in a row.
        rate_limited: The server limits the rate of requests (429), as a rule per minute: the waits add up to more, and
            tries are counted from one again if other requests were answered since the try before.
    """

    again: bool
    after: float | None = None
    restart: str = ""
    expected: bool = False
    rate_limited: bool = False


NO_RETRY = RetryPolicy(again=False)
RETRY = RetryPolicy(again=True)
RENEW = RetryPolicy(again=True, after=0.0)
RETRY_NOW = RENEW
"""The same for a connection that was closed: a new one may work, and the server did not report overload."""


class ConnectorError(Exception):
    """Root of all errors that this package raises on purpose.

    Attributes:
        message: One sentence about what went wrong.
        hint: One sentence about what to do next; may be empty.
        advice: What the retry loop should do.
    """

    exit_code: ClassVar[int] = 1
    family: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", advice: RetryPolicy = NO_RETRY) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the constructor with `args`, which those of some subclasses do not take.
        return _without_init, (type(self), self.args), self.__dict__

    def with_advice(self, advice: RetryPolicy) -> Self:
        """Return a copy with another advice. The error itself may be shared by several tasks and is not changed."""
        twin = _without_init(type(self), self.args)
        twin.__dict__.update(self.__dict__, advice=advice)
        return twin.with_traceback(self.__traceback__)


E = TypeVar("E", bound=ConnectorError)


def _without_init(kind: type[E], args: tuple[object, ...]) -> E:
    return kind.__new__(kind, *args)


class UsageError(ConnectorError):
    """Invalid or missing input: an option, a key, a token, a file name."""

    exit_code = 2
    family = "usage"


class LocalError(ConnectorError):
    """A problem of this machine: disk full, permission denied, a file that exists already or has changed."""

    exit_code = 3
    family = "local"


class RefusedError(ConnectorError):
    """The archive rejected the request: token, permission, unknown file, state of a box."""

    exit_code = 4
    family = "refused"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        advice: RetryPolicy = NO_RETRY,
        status: int = 0,
        exception_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint, advice=advice)
        self.status = status
        self.exception_id = exception_id


class BrokenError(ConnectorError):
    """The archive or the connection to it fails: unreachable, closed, timed out, 5xx, or an invalid response."""

    exit_code = 5
    family = "broken"


class IntegrityError(ConnectorError):
    """Data is not as expected: damaged, swapped, missing, or encrypted for a different key."""

    exit_code = 6
    family = "integrity"


class FileExistsAlready(LocalError):
    """The target of a transfer exists and overwriting was not asked for."""
