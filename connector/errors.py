"""The errors that a caller can meet, in five families under one root.

A family says whose fault it was and so what to do: `UsageError` and `LocalError` are ours,
`RefusedError` and `BrokenError` are theirs, `IntegrityError` is the data's.
Every family has one exit code of the command line.
"""

from __future__ import annotations

from typing import ClassVar, Self

import attrs


@attrs.frozen
class RetryPolicy:
    """What the one retry loop should do about an error.

    `again`: retrying the same step may help. `after`: seconds to wait before that, as the other side asked
    (`Retry-After`, more than 0); `None` leaves the wait to the backoff; `0` means at once, which suits an
    address that was refused and will be fetched again.

    `restart`: the step cannot succeed any more, but the whole transfer may if it is started again from its
    preparation; the word names the cause, and each cause restarts a transfer once. `expected`: not worth telling
    unless it happens twice in a row.
    """

    again: bool
    after: float | None = None
    restart: str = ""
    expected: bool = False


NO_RETRY = RetryPolicy(again=False)
RETRY = RetryPolicy(again=True)
RENEW = RetryPolicy(again=True, after=0.0)
RETRY_NOW = RENEW
"""The same for a connection that broke: a new one may serve, and nobody said that it is too much."""


class ConnectorError(Exception):
    """Root of all errors that this package raises on purpose.

    `message` is one sentence about what went wrong, `hint` one about what to do next (may be empty),
    `advice` speaks to the retry loop.
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

    def with_advice(self, advice: RetryPolicy) -> Self:
        """The same error with another advice. This one stays as it is: several tasks may be told of it."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__, advice=advice)
        return twin.with_traceback(self.__traceback__)


class UsageError(ConnectorError):
    """What was asked for makes no sense or lacks something: an option, a key, a token, a file name."""

    exit_code = 2
    family = "usage"


class LocalError(ConnectorError):
    """This machine got in the way: disk full, permission, a file in the way, a file that changed."""

    exit_code = 3
    family = "local"


class RefusedError(ConnectorError):
    """The archive understood and said no: token, permission, unknown file, state of a box."""

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
    """The archive or the way to it does not work: unreachable, cut, too slow, 5xx, or speaking nonsense."""

    exit_code = 5
    family = "broken"


class IntegrityError(ConnectorError):
    """Bytes are not what they should be: damaged, swapped, missing, or sealed for somebody else."""

    exit_code = 6
    family = "integrity"


class FileExistsAlready(LocalError):
    """The target of a transfer exists and overwriting was not asked for."""
