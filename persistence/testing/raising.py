"""Assertions that an error is raised, without pytest: the suites run under any test runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from persistence.errors import PersistenceError

E = TypeVar("E", bound=PersistenceError)


class Raised(Generic[E]):
    """Holds the error that was raised, after the block."""

    error: E


@contextmanager
def raises(kind: type[E]) -> Iterator[Raised[E]]:
    """Assert that the block raises an error of a class, with a message of at least ten characters.

    Args:
        kind: the class; subclasses are accepted.

    Raises:
        AssertionError: no error was raised, or its message is empty.
    """
    raised: Raised[E] = Raised()
    try:
        yield raised
    except kind as error:
        raised.error = error
        if len(str(error)) < 10:
            raise AssertionError(f"{error!r} has an empty message") from error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
