"""A command that asks at a terminal, and somebody who answers."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])|\r")


def converse(
    command: Sequence[object],
    answers: Sequence[tuple[str, str]] = (),
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float = 180,
) -> tuple[int, str]:
    """Run ``command`` on a terminal: each answer is given when its pattern is shown, after the answer before.

    Returns the exit code and all that was shown, without escape sequences.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    shown, answered = "", 0
    waiting = list(answers)
    deadline = time.monotonic() + seconds
    try:
        while True:
            assert time.monotonic() < deadline, f"no {waiting[0][0] if waiting else 'end'!r} in {shown[answered:]!r}"
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the command was the last that had it open
                break
            shown += _ESCAPES.sub("", piece.decode(errors="replace"))
            if waiting and re.search(waiting[0][0], shown[answered:]):
                answered = len(shown)
                os.write(ours, waiting.pop(0)[1].encode() + b"\r")
        assert not waiting, f"ended before {waiting[0][0]!r}: {shown}"
        return process.wait(180), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
