"""Where PyMongo's asyncio client runs: on a loop of the caller's, or on one of its own.

Under asyncio a call is simply awaited. Under trio there is an asyncio loop beside trio's: in trio's
thread where one selector can wait for another and nothing else of asyncio runs there, else in a
thread of its own.

Whoever is cancelled returns at once. The call of PyMongo behind it is not cancelled but left to
end by itself (PyMongo drops the connections of a server that its monitor has lost), and what it
still gives is dropped. For where many calls wait for a server, PyMongo's lock does not bear a
cancellation: Python 3.11's `asyncio.wait_for` may then leave a condition without holding its
lock, and a lock that is lost fails the calls of everybody else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import sniffio

from persistence.documents.mongodb.loop_thread import LoopThread
from persistence.documents.mongodb.own_loop import OwnLoop

T = TypeVar("T")


class Loop(Protocol):
    """Runs asyncio coroutines for whoever calls."""

    async def start(self) -> None:
        """Make the loop ready."""
        ...

    async def run(self, call: Callable[[], Awaitable[T]], deadline: float | None = None, *, brief: bool = False) -> T:
        """Run the call and give its result; `TimeoutError` after so many seconds.

        `brief` says that it is the only one and that its answer usually comes at once.
        """
        ...

    @property
    def prompt(self) -> bool:
        """Whether a brief call would be over sooner here than through a blocking client in a thread."""
        ...

    def took(self, seconds: float) -> None:
        """Take note of a brief call that was over elsewhere after so long."""
        ...

    async def stop(self) -> None:
        """Stop the loop once it has nothing left to do."""
        ...


def make_loop() -> Loop:
    """The loop for the library that runs now."""
    if sniffio.current_async_library() != "trio":
        return OwnLoop()
    # Other systems' selectors have not been tried within trio's, or cannot be waited for at all.
    if sys.platform != "linux" or _runs_asyncio():
        return LoopThread()
    from persistence.documents.mongodb.nested_loop import NestedLoop

    return NestedLoop()


def _runs_asyncio() -> bool:
    """Whether asyncio runs this thread, though trio runs this task: as its guest."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
