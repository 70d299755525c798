"""Signals that ask a process to stop: once to stop in good order, twice to end at once.

They are handled from the start of the process to its end (:func:`handle_signals`), also where trio does not run yet or
no longer. This module is imported before anything else, so it imports hardly anything itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import trio

T = TypeVar("T")

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)  # Windows knows two of them.

_SAME_REQUEST = 0.2
"""Seconds within which further signals belong to the first: timeout(1) and terminals send one to a process and to its
group, which reaches the process twice."""
_REPEATED = {getattr(signal, "SIGXCPU", 0)}
"""Sent again every second by the system itself, once the limit is reached."""


class Interrupted(BaseException):
    """The run was asked to stop.

    Not an :class:`Exception`, since nothing on its way may take it for a failure that it knows how to handle.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code

    @classmethod
    def by(cls, number: int) -> Interrupted:
        """By a signal: 128 and its number, as shells count it."""
        return cls(f"Interrupted by {signal.Signals(number).name}.", 128 + number)


def _end_at_once(number: int) -> None:
    # No clean-up, no flushing, no waiting for threads: whoever asks twice wants the prompt back. What was synced
    # to the disk stays; journals are written for exactly this.
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or there is no standard error
        if sys.platform == "win32" or select.select([], [2], [], 0)[1]:
            os.write(2, b"\nEnded at once.\n")
    os._exit(128 + number)


class SignalHandler:
    """Handles the signals of this process. ``stop`` is what the first one does, ``last_words`` comes before the end."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.stop: Callable[[int], None] = self._raise
        self.last_words: Callable[[], None] = lambda: None
        self._since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.first is None:
            self.first, self._since = number, time.monotonic()
            self.stop(number)
        elif number not in _REPEATED and time.monotonic() - self._since >= _SAME_REQUEST:
            try:
                self.last_words()
            finally:
                _end_at_once(number)

    def leave(self) -> None:
        """From now on the first one ends the process without a word: all is done but for the flushing of streams."""
        self.stop = lambda number: os._exit(128 + number)

    @contextlib.contextmanager
    def diverted(self, stop: Callable[[int], None], last_words: Callable[[], None]) -> Iterator[None]:
        """Have the first signal call ``stop`` instead of raising :class:`Interrupted` wherever the process is."""
        before = self.stop, self.last_words
        self.stop, self.last_words = stop, last_words
        try:
            if self.first is not None:
                raise Interrupted.by(self.first)  # somebody on its way has kept it for himself
            yield
        finally:
            self.stop, self.last_words = before

    def _raise(self, number: int) -> None:
        raise Interrupted.by(number)


_handler: SignalHandler | None = None


def handled_signals() -> list[signal.Signals]:
    """The signals of :data:`SIGNALS` that are not ignored, as SIGHUP is under nohup: that is meant to stay so."""
    return [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]


@contextlib.contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle signals for the length of the block, which the first of them ends with :class:`Interrupted`."""
    global _handler
    if _handler is not None:
        yield _handler
        return
    handler = SignalHandler()
    if threading.current_thread() is not threading.main_thread():
        yield handler  # Only the main thread may set handlers, and only it gets the signals.
        return
    before = {number: signal.getsignal(number) for number in handled_signals()}
    _handler = handler
    try:
        for number in before:
            signal.signal(number, handler)
        yield handler
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
        _handler = None


def run_interruptible(
    job: Callable[[], Awaitable[T]],
    *,
    on_first: Callable[[], None] = lambda: None,
    last_words: Callable[[], None] = lambda: None,
    clock: trio.abc.Clock | None = None,
) -> T:
    """Run ``job`` under trio and return its result.

    The first signal calls ``on_first`` and cancels the job; once that has unwound, :class:`Interrupted` is raised. A
    second signal calls ``last_words`` and ends the process without waiting for anything.
    """
    import trio

    tokens: list[trio.lowlevel.TrioToken] = []
    asked: list[Interrupted] = []
    results: list[T] = []
    scope = trio.CancelScope()

    def stop() -> None:
        on_first()
        scope.cancel()

    def by_signal(number: int) -> None:
        asked.append(Interrupted.by(number))
        with contextlib.suppress(trio.RunFinishedError):
            for token in tokens:
                token.run_sync_soon(stop)

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        if asked:
            stop()
        with scope:
            results.append(await job())

    with handle_signals() as handler, handler.diverted(by_signal, last_words):
        trio.run(main, clock=clock)
    if not results:
        raise asked[0]
    return results[0]
