"""What became of one transfer, as a value."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar, cast

import attrs

from connector.errors import ConnectorError

T = TypeVar("T")

AlreadyThere = Literal["size", "record", "sha256"]
"""A file needed not be moved, since it was there. What was compared to know that: its size only; size and modification
time with what an earlier run noted when it had finished and verified it; or its size and the sha256 of its content."""


@attrs.frozen
class Outcome(Generic[T]):
    """The result of one transfer: a ``value`` or an ``error``, never both."""

    label: str
    value: T | None = None
    error: ConnectorError | None = None

    @property
    def ok(self) -> bool:
        """Whether the transfer succeeded."""
        return self.error is None

    def unwrap(self) -> T:
        """The value; raises the transfer's error if it failed."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)
