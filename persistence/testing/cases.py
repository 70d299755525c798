"""Cases of a conformance suite: named coroutines that assert something of a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

H = TypeVar("H")


@attrs.frozen
class Case(Generic[H]):
    """One case: a name, and what is run against a harness."""

    name: str
    body: Callable[[H], Awaitable[None]]

    async def run(self, harness: H) -> None:
        """Run the case; it raises AssertionError if the provider does not conform."""
        await self.body(harness)

    def __str__(self) -> str:
        return self.name


class Cases(list[Case[H]]):
    """Collects the cases of one module."""

    def __call__(self, body: Callable[[H], Awaitable[None]]) -> Callable[[H], Awaitable[None]]:
        """Decorator: the function is a case named like it."""
        self.append(Case(body.__name__, body))
        return body

    def each(
        self, **values: object
    ) -> Callable[[Callable[[H, object], Awaitable[None]]], Callable[[H, object], Awaitable[None]]]:
        """Decorator: a case for each value; keywords name them."""

        def add(body: Callable[[H, object], Awaitable[None]]) -> Callable[[H, object], Awaitable[None]]:
            for label, value in values.items():
                self.append(Case(f"{body.__name__}[{label}]", _bound(body, value)))
            return body

        return add


def _bound(body: Callable[[H, object], Awaitable[None]], value: object) -> Callable[[H], Awaitable[None]]:
    async def run(harness: H) -> None:
        await body(harness, value)

    return run
