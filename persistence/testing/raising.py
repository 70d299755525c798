"""Expecting an error, without pytest: the suites run under any runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from persistence.errors import PersistenceError

E = TypeVar("E", bound=PersistenceError)


class Raised(Generic[E]):
    """The error that came."""

    error: E


@contextmanager
def raises(kind: type[E]) -> Iterator[Raised[E]]:
    """Assert that the block raises an error of this kind with a message that says something."""
    raised: Raised[E] = Raised()
    try:
        yield raised
    except kind as error:
        raised.error = error
        if len(str(error)) < 10:
            raise AssertionError(f"{error!r} says nothing") from error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
