"""A process that runs beside the server and is started again when it dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs
import trio

from connector.transfer.reporting import is_bug

_log = logging.getLogger(__name__)

_GRACE = 10.0
"""Seconds that the process has to end once its standard input is closed."""
_LIVED = 60.0
"""Seconds after which a process that dies is started again at once."""
_LONGEST_PAUSE = 30.0
_NEW_PROCESS_GROUP = 0x200
"""`CREATE_NEW_PROCESS_GROUP` of Windows, which `subprocess` has there only."""


@attrs.frozen
class ChildCommand:
    """A program with its arguments, and its environment."""

    words: Sequence[str]
    environment: Mapping[str, str] = attrs.field(repr=False)


def apart_from_terminal(*, platform: str = sys.platform) -> dict[str, Any]:
    """Options of a process that signals of the terminal are not to reach, with POSIX and Windows."""
    return {"creationflags": _NEW_PROCESS_GROUP} if platform == "win32" else {"start_new_session": True}


async def keep_running(command: ChildCommand) -> NoReturn:
    """Run a process until cancelled, and again whenever it ends.

    The process is to end when its standard input does: that also ends when this process is killed.
    """
    pause = 1.0
    while True:
        started = trio.current_time()
        try:
            how = f"has ended with code {await _run(command)}"
        except (OSError, MemoryError, RuntimeError) as error:
            if is_bug(error):
                raise
            how = f"could not be started: {error}"
        pause = 1.0 if trio.current_time() - started > _LIVED else min(2 * pause, _LONGEST_PAUSE)
        _log.error("The worker %s; it is started again in %.0f s.", how, pause)
        await trio.sleep(pause)


async def _run(command: ChildCommand) -> int:
    # A session of its own: signals of the terminal reach only this process, which ends the other one.
    process = await trio.lowlevel.open_process(
        command.words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=dict(command.environment),
        **apart_from_terminal(),
    )
    try:
        return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _end(process: trio.Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()
    with trio.move_on_after(_GRACE):
        await process.wait()
        return
    process.kill()
    await process.wait()


async def until_input_ends(stop: Callable[[], None]) -> None:
    """Call `stop` when the standard input of this process ends, as that of a process of `keep_running`."""
    await trio.to_thread.run_sync(_read_to_end, abandon_on_cancel=True)
    stop()


def _read_to_end() -> None:
    while os.read(0, 1024):
        pass
