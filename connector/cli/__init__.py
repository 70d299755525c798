"""The command line: commands, prompts, progress and exit codes. Nothing else of the package prints.

Importing this package is cheap on purpose: `connector --help` answers before anything heavy is loaded.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the process' own arguments, and end the process with its exit code."""
    # Objects that are loaded at the start stay in use: fewer collections save a tenth of that time. They must not be so
    # rare that the reference cycles of a transfer take megabytes.
    gc.set_threshold(5_000, 20, 100)
    from connector.cli.interruption import Interrupted, handle_signals

    with handle_signals() as handler:
        try:
            from connector.cli.root import run_command_line

            prepare_standard_streams()
            code = run_command_line()
        except Interrupted as interrupted:
            with suppress(OSError):
                os.write(2, f"{interrupted}\n".encode())
            code = interrupted.exit_code
        except MemoryError:  # before there was a command that could report it
            with suppress(OSError):
                os.write(2, b"Error: This machine has no memory left. Allow more (ulimit -v).\n")
            code = 3
        handler.leave()
    # The interpreter would search all that was loaded for cycles, for 30 ms, to release what the system takes anyway.
    gc.freeze()
    sys.exit(flushed(code))


def prepare_standard_streams() -> None:
    """Open missing standard streams, and let all of them accept any character.

    The descriptors 0 to 2 are occupied where they are closed: the next file that is opened would get such a number, and
    what is meant for people would be written into it. Reading a closed standard input fails, since it has not ended,
    and printing to a closed standard output, since that is missed. A closed standard error takes everything.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed(code: int) -> int:
    """Flush the standard streams and return the exit code, which is not 0 if requested output is lost.

    A stream that cannot be flushed is redirected, since the interpreter would flush it again and print an error.
    """
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError, MemoryError):  # its reader is gone, or it was closed
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout:
                from connector.errors import LocalError

                code = code or LocalError.exit_code
    return code
