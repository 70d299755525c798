"""Cases of a conformance suite: named coroutines that test one property of a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

H = TypeVar("H")


@attrs.frozen
class Case(Generic[H]):
    """One case of a suite.

    Attributes:
        name: unique within the suite.
        body: runs the case against a harness.
    """

    name: str
    body: Callable[[H], Awaitable[None]]

    async def run(self, harness: H) -> None:
        """Run the case against a harness.

        Raises:
            AssertionError: the provider does not conform.
        """
        await self.body(harness)

    def __str__(self) -> str:
        return self.name


class Cases(list[Case[H]]):
    """The cases of one module; an instance is the decorator that collects them."""

    def __call__(self, body: Callable[[H], Awaitable[None]]) -> Callable[[H], Awaitable[None]]:
        """Decorator: add a case with the name of the function."""
        self.append(Case(body.__name__, body))
        return body

    def each(
        self, **values: object
    ) -> Callable[[Callable[[H, object], Awaitable[None]]], Callable[[H, object], Awaitable[None]]]:
        """Decorator: add one case for each value, named by its keyword."""

        def add(body: Callable[[H, object], Awaitable[None]]) -> Callable[[H, object], Awaitable[None]]:
            for label, value in values.items():
                self.append(Case(f"{body.__name__}[{label}]", _bound(body, value)))
            return body

        return add


def _bound(body: Callable[[H, object], Awaitable[None]], value: object) -> Callable[[H], Awaitable[None]]:
    async def run(harness: H) -> None:
        await body(harness, value)

    return run
