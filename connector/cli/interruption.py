"""Signals that stop the process: the first one gracefully, the second one at once.

They are handled from the start of the process to its end (`handle_signals`), also where trio does not run yet or
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
_FORCE_QUIT_AFTER = 5.0
"""Seconds until the process ends at once if the first signal has no effect: a terminal or pipe that is not read blocks
the whole process."""
_REPEATED = {getattr(signal, "SIGXCPU", 0)}
"""Sent again every second by the system itself, once the limit is reached."""


class Interrupted(BaseException):
    """The run was asked to stop.

    Not an `Exception`, since nothing on its way may take it for a failure that it knows how to handle.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code

    @classmethod
    def by(cls, number: int) -> Interrupted:
        """By a signal: 128 and its number, as shells count it."""
        return cls(f"Interrupted by {signal.Signals(number).name}.", 128 + number)


def _end_at_once(code: int) -> None:
    # No clean-up, no flushing, no waiting for threads. What was synced to the disk stays: the journals make every
    # transfer resumable.
    with contextlib.suppress(OSError, ValueError):  # standard error has no reader, or is missing
        if sys.platform == "win32" or select.select([], [2], [], 0)[1]:
            os.write(2, b"\nEnded at once.\n")
    os._exit(code)


class SignalHandler:
    """Handles the signals of this process, see `handle_signals`.

    The first one raises `Interrupted` wherever the process is, or cancels what `run` runs; the second ends
    the process.
    """

    def __init__(
        self,
        *,
        has_alarm: bool,
        end_at_once: Callable[[int], object] = _end_at_once,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._has_alarm = has_alarm
        self._end_at_once = end_at_once
        self._clock = clock
        self._request: Interrupted | None = None
        self.left = False
        self._limit: Interrupted | None = None
        self._stop: Callable[[Interrupted], None] = _raise
        self._on_force_quit: Callable[[], None] = lambda: None
        self._since = 0.0
        self._grace = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._request is None:
            self.ask(Interrupted.by(number))
        elif number not in _REPEATED and self._clock() - self._since >= _SAME_REQUEST:
            self._end(128 + number)

    @property
    def asked(self) -> bool:
        """Whether the process was asked to stop."""
        return self._request is not None

    def ask(self, request: Interrupted, *, grace: float = 0.0) -> None:
        """Stop the process gracefully, within `grace` seconds (0: without a limit)."""
        self._request, self._since, self._grace = request, self._clock(), grace
        self._end_after(min(_FORCE_QUIT_AFTER, grace or _FORCE_QUIT_AFTER))
        self._stop(request)

    def end_in(self, seconds: float, request: Interrupted) -> None:
        """End the process with the code of `request` unless this is called again, or a stop is requested, within
        `seconds`: the task that requests the stop may be blocked by unread output."""
        self._limit = request
        self._end_after(seconds)

    def run(
        self,
        job: Callable[[], Awaitable[T]],
        *,
        on_request: Callable[[Interrupted], None] = lambda request: None,
        on_force_quit: Callable[[], None] = lambda: None,
        clock: trio.abc.Clock | None = None,
    ) -> T:
        """Run `job` under trio and return its result.

        The first signal calls `on_request` and cancels the job; once that has unwound, `Interrupted` is
        raised. A second signal calls `on_force_quit` and ends the process without waiting for anything.
        """
        import trio

        tokens: list[trio.lowlevel.TrioToken] = []
        results: list[T] = []
        scope = trio.CancelScope()

        def stop() -> None:
            if self._request is not None and not scope.cancel_called:
                scope.cancel()
                on_request(self._request)
                self._end_after(self._grace)

        def request_stop(request: Interrupted) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                for token in tokens:
                    token.run_sync_soon(stop)

        async def main() -> None:
            tokens.append(trio.lowlevel.current_trio_token())
            stop()  # if it was asked to before there was a token
            with scope:
                results.append(await job())

        with self._diverted(request_stop, on_force_quit):
            trio.run(main, clock=clock)
        if not results:
            assert self._request is not None
            raise self._request
        if self._request is not None:
            self._end_after(0.0)  # asked too late to stop anything
        return results[0]

    def too_late(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGALRM: the process has not stopped by itself in time."""
        request = self._request or self._limit
        if request is not None:
            self._end(request.exit_code)

    def leave(self) -> None:
        """From now on ignore signals: the work is done and the process about to end.

        The interpreter, as it ends, resets handlers to the default, which would end the process by the signal.
        """
        self.left = True
        for number in handled_signals():
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def _diverted(self, stop: Callable[[Interrupted], None], on_force_quit: Callable[[], None]) -> Iterator[None]:
        """Call these for the length of the block."""
        before = self._stop, self._on_force_quit
        self._stop, self._on_force_quit = stop, on_force_quit
        try:
            if self._request is not None:
                raise self._request  # where it came, it could not be raised, or was swallowed
            yield
        finally:
            self._stop, self._on_force_quit = before

    def _end(self, code: int) -> None:
        try:
            self._on_force_quit()
        finally:
            self._end_at_once(code)

    def _end_after(self, seconds: float) -> None:
        # Not by a thread: the interrupted code may hold the lock that starting one takes.
        if sys.platform != "win32" and self._has_alarm:
            signal.setitimer(signal.ITIMER_REAL, seconds)


def _raise(request: Interrupted) -> None:
    raise request


_handler: SignalHandler | None = None


def handled_signals() -> list[signal.Signals]:
    """The signals of `SIGNALS` that are not ignored, as SIGHUP is under nohup: that is meant to stay so."""
    return [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]


@contextlib.contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle signals for the length of the block, which the first of them ends with `Interrupted`.

    Where that cannot be raised (in a `__del__`, or a callback of the import system) Python drops it with a traceback
    on standard error. Not here: `SignalHandler.run` raises it again.
    """
    global _handler
    if threading.current_thread() is not threading.main_thread():
        yield SignalHandler(has_alarm=False)  # Only the main thread may set handlers, and only it gets the signals.
        return
    if _handler is not None:
        yield _handler
        return
    alarm = [signal.SIGALRM] if hasattr(signal, "SIGALRM") else []
    _handler = handler = SignalHandler(has_alarm=bool(alarm))
    before = {number: signal.getsignal(number) for number in [*handled_signals(), *alarm]}
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda args: None if isinstance(args.exc_value, Interrupted) else unraisable(args)
    try:
        for number in before:
            signal.signal(number, handler.too_late if number in alarm else handler)
        yield handler
    finally:
        handler._end_after(0.0)
        if not handler.left:
            for number, earlier in before.items():
                signal.signal(number, earlier)
        sys.unraisablehook = unraisable
        _handler = None
