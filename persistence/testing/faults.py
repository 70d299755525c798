"""A wrapper that makes any storage or DAO slow, failing or unreliable on demand.

    faults = Faults()
    storage = faulty(storage, faults)
    faults.fail("put_part", Unreachable("The server is gone."), times=2)
    faults.delay("stat", 0.5)

The rule for `"*"` holds for every method. What is wrapped keeps its type for the type checker.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any, TypeVar, cast

import anyio
import attrs

T = TypeVar("T")


@attrs.define
class _Rule:
    error: BaseException | None = None
    times: int | None = None
    rate: float = 1.0
    seconds: float = 0.0
    after: bool = False


class Faults:
    """The rules of a wrapper by method name, and how often each method was called.

    Args:
        random: decides where a rate is given; seeded by default, so that tests repeat.
    """

    def __init__(self, random: Random | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self._random = random or Random(0)
        self._rules: dict[str, list[_Rule]] = {}

    def fail(
        self, method: str, error: BaseException, *, times: int | None = None, rate: float = 1.0, after: bool = False
    ) -> None:
        """Raise an error from a method.

        Args:
            method: its name, or `*`.
            error: the error to raise.
            times: for how many calls; None means for all.
            rate: the share of calls that fail, 0 to 1.
            after: whether the call is made first, as if only its answer was lost.
        """
        self._rules.setdefault(method, []).append(_Rule(error, times, rate, after=after))

    def delay(self, method: str, seconds: float, *, times: int | None = None) -> None:
        """Make a method wait before it does anything; infinity makes it hang."""
        self._rules.setdefault(method, []).append(_Rule(None, times, seconds=seconds))

    def heal(self, method: str | None = None) -> None:
        """Remove the rules of a method, or all."""
        if method is None:
            self._rules.clear()
        else:
            self._rules.pop(method, None)

    async def before(self, method: str) -> BaseException | None:
        """Count a call, wait, and raise; or return the error to be raised after the call."""
        self.calls[method] += 1
        for rule in [*self._rules.get("*", ()), *self._rules.get(method, ())]:
            if rule.times == 0 or (rule.rate < 1 and self._random.random() >= rule.rate):
                continue
            if rule.times is not None:
                rule.times -= 1
            if rule.seconds:
                await anyio.sleep(rule.seconds)
            error: BaseException | None = rule.error
            if error is not None:
                if rule.after:
                    return error
                raise error
        return None


def faulty(wrapped: T, faults: Faults) -> T:
    """The same object with faults; DAOs made by a wrapped factory are wrapped as well."""
    return cast(T, _Faulty(wrapped, faults))


class _Faulty:
    _faults: Faults

    def __init__(self, wrapped: Any, faults: Faults) -> None:
        self._wrapped = wrapped
        self._faults = faults

    async def __aenter__(self) -> Any:
        await self._wrapped.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._wrapped.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name.startswith("_") or not callable(found):
            return found
        if inspect.iscoroutinefunction(found):
            return self._coroutine(name, found)
        return self._plain(name, found)

    def _coroutine(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            late = await self._faults.before(name)
            if name == "with_transaction":
                work = args[0]
                args = (lambda transaction: work(_Faulty(transaction, self._faults)), *args[1:])
            result = await found(*args, **kwargs)
            if late is not None:
                raise late
            return _Faulty(result, self._faults) if name in ("dao", "surrogate_dao") else result

        return call

    def _plain(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in ("bind", "bind_surrogate"):
                inner = args[0]._wrapped if isinstance(args[0], _Faulty) else args[0]
                return _Faulty(found(inner), self._faults)
            result = found(*args, **kwargs)
            if isinstance(result, AbstractAsyncContextManager):
                return _FaultyContext(result, self._faults, name)
            return _FaultyIterator(result, self._faults, name) if isinstance(result, AsyncIterator) else result

        return call


class _FaultyIterator(AsyncIterator[Any]):
    def __init__(self, wrapped: AsyncIterator[Any], faults: Faults, name: str) -> None:
        self._wrapped = wrapped
        self._faults = faults
        self._name = name

    async def __anext__(self) -> Any:
        late = await self._faults.before(self._name)
        item = await self._wrapped.__anext__()
        if late is not None:
            raise late
        return item

    async def total_count(self) -> int:
        late = await self._faults.before("total_count")
        count: int = await cast(Any, self._wrapped).total_count()
        if late is not None:
            raise late
        return count


class _FaultyContext:
    def __init__(self, wrapped: AbstractAsyncContextManager[Any], faults: Faults, name: str) -> None:
        self._wrapped = wrapped
        self._faults = faults
        self._name = name

    async def __aenter__(self) -> Any:
        late = await self._faults.before(self._name)
        entered = await self._wrapped.__aenter__()
        if late is not None:
            await self._wrapped.__aexit__(type(late), late, late.__traceback__)
            raise late
        if isinstance(entered, AsyncIterator):
            return _FaultyIterator(entered, self._faults, f"{self._name}.next")
        return _Faulty(entered, self._faults)

    async def __aexit__(self, *error: Any) -> Any:
        return await self._wrapped.__aexit__(*error)
