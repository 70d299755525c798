"""SIGINT, SIGTERM and SIGHUP around a trio run: once to stop in good order, twice to end at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import trio

T = TypeVar("T")

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows knows no SIGHUP.


class Interrupted(Exception):
    """The run was cancelled by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count it."""
        return 128 + self.number


def _end_at_once(number: int) -> None:
    # No clean-up, no flushing, no waiting for threads: whoever asks twice wants the prompt back. What was synced
    # to the disk stays; journals are written for exactly this.
    os.write(2, b"\nEnded at once.\n")
    os._exit(128 + number)


def run_interruptible(
    job: Callable[[], Awaitable[T]],
    *,
    on_first: Callable[[int], None],
    last_words: Callable[[], None] = lambda: None,
    end: Callable[[int], Any] = _end_at_once,
    clock: trio.abc.Clock | None = None,
) -> T:
    """Run ``job`` under trio and return its result.

    The first signal calls ``on_first`` with its number and cancels the job; once that has unwound,
    :class:`Interrupted` is raised. A second signal calls ``last_words`` and ends the process without waiting for
    anything.
    """
    received: list[int] = []

    async def main() -> T:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop() -> None:
                on_first(received[0])
                scope.cancel()

            def handle(number: int, frame: FrameType | None) -> None:
                received.append(number)
                if len(received) == 1:
                    token.run_sync_soon(stop)
                else:
                    last_words()
                    end(number)

            with _handling(handle):
                return await job()
        raise Interrupted(received[0])

    return trio.run(main, clock=clock)


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers, and only it gets the signals.
        return
    before = {}
    for number in SIGNALS:
        current = signal.getsignal(number)
        # Whoever started us under nohup, or in the background of a script, wants these ignored.
        if current not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
