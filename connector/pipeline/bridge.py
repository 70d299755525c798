"""Calls a job that is written for trio from plain code and from asyncio.

From plain code the job runs in the calling thread, under a trio of its own, so that Ctrl-C cancels it. From asyncio it
runs in a thread of its own; a cancellation of the asyncio task cancels it there, and its end is awaited.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, ParamSpec, TypeVar

import trio

from connector.errors import UsageError
from connector.transfer import as_connector_error

P = ParamSpec("P")
T = TypeVar("T")


def blocking(job: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Return `job` as a function that blocks until it is done.

    It raises `UsageError` in the thread of a running event loop, which it would block, and `KeyboardInterrupt` after
    Ctrl-C, when the job has ended in good order.
    """

    @functools.wraps(job)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _check_callback(kwargs.get("on_progress"))
        if _loop_is_running():
            name = f"connector.{job.__name__}"
            raise UsageError(f"{name} would block the event loop of this thread; use: await {name}_async(...).")
        return _run(functools.partial(job, *args, **kwargs))

    return _published(call, job.__name__)


def awaitable(job: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return `job` as a coroutine function for asyncio and trio.

    Under asyncio a callback `on_progress` is called in the thread of the event loop. Raises `UsageError` where neither
    of them runs.
    """

    @functools.wraps(job)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _check_callback(kwargs.get("on_progress"))
        if trio.lowlevel.in_trio_task():
            return await _with_single_error(functools.partial(job, *args, **kwargs))
        name = f"connector.{job.__name__}"
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(f"{name}_async runs under asyncio or trio; from plain code use: {name}(...).") from None
        on_progress: Any = kwargs.get("on_progress")
        if on_progress is not None:
            kwargs["on_progress"] = functools.partial(loop.call_soon_threadsafe, on_progress)
        return await _InThread(functools.partial(job, *args, **kwargs)).result()

    return _published(call, f"{job.__name__}_async")


def _published(function: Callable[P, T], name: str) -> Callable[P, T]:
    """Name the function as it is imported, so that it can be pickled for another process."""
    function.__module__, function.__name__, function.__qualname__ = "connector", name, name
    return function


def _check_callback(on_progress: object) -> None:
    if any(map(inspect.iscoroutinefunction, (on_progress, getattr(type(on_progress), "__call__", None)))):  # noqa: B004
        raise UsageError("on_progress must be a plain function: the engine calls it and does not await it.")


def _loop_is_running() -> bool:
    if trio.lowlevel.in_trio_run():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(job: Callable[[], Awaitable[T]]) -> T:
    try:
        # Only the main task is interrupted: in the middle of a step, KeyboardInterrupt would be taken for its failure.
        return trio.run(_with_single_error, job, restrict_keyboard_interrupt_to_checkpoints=True)
    except BaseExceptionGroup as group:
        raise _leaf(group) from None


async def _with_single_error(job: Callable[[], Awaitable[T]]) -> T:
    try:
        return await job()
    except ExceptionGroup as group:
        raise as_connector_error(group) from group


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that a nursery has wrapped: KeyboardInterrupt, or what a callback raised to end the process."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        _, others = found.split(Exception)
        found = (others or found).exceptions[0]
    return found


class _InThread(Generic[T]):
    """A job that runs in another thread for an asyncio task."""

    def __init__(self, job: Callable[[], Awaitable[T]]) -> None:
        self._job = job
        self._done: Future[list[T]] = Future()
        self._cancelled = threading.Event()
        self._started: tuple[trio.lowlevel.TrioToken, trio.CancelScope] | None = None

    async def result(self) -> T:
        """Run the job and return its result. Cancelled, it returns only when the job has ended."""
        # A daemon: a loop that is left without being closed must not keep the process from its end.
        thread = threading.Thread(target=self._work, name="connector", daemon=True)
        thread.start()
        cancellation: asyncio.CancelledError | None = None
        try:
            done = asyncio.wrap_future(self._done)
            while not done.done():
                try:
                    await asyncio.wait([done])
                except asyncio.CancelledError as error:
                    cancellation = error
                    self._cancel()
        finally:
            self._cancel()
            thread.join()
        if cancellation is not None:
            done.exception()  # it is retrieved, so that asyncio does not report it
            raise cancellation
        (result,) = done.result()
        return result

    def _work(self) -> None:
        try:
            self._done.set_result(_run(self._main))
        except BaseException as error:
            self._done.set_exception(error)

    async def _main(self) -> list[T]:
        with trio.CancelScope() as scope:
            self._started = trio.lowlevel.current_trio_token(), scope
            if self._cancelled.is_set():
                scope.cancel()
            return [await self._job()]
        return []

    def _cancel(self) -> None:
        # In this order, so that either `_main` sees it or the scope is there: this is another thread.
        self._cancelled.set()
        if self._started is not None:
            token, scope = self._started
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)
