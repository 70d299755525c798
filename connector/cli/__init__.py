"""The command line: commands, prompts, progress and exit codes. Nothing else of the package prints.

Importing this package is cheap on purpose: ``connector --help`` answers before anything heavy is loaded.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the process' own arguments, and end the process with its exit code."""
    # What is loaded stays: to look through it for garbage hundreds of times meanwhile is a tenth of a start. Not so
    # rarely, though, that the circles of a transfer become megabytes.
    gc.set_threshold(5_000, 20, 100)
    from connector.cli.interruption import Interrupted, handle_signals

    with handle_signals() as handler:
        try:
            from connector.cli.root import run_command_line
            from connector.cli.streams import prepare_standard_streams

            prepare_standard_streams()
            code = run_command_line()
        except Interrupted as interrupted:
            with suppress(OSError):
                os.write(2, f"{interrupted}\n".encode())
            code = interrupted.exit_code
        handler.leave()
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart, which nobody waits for but the user.

    Files are closed and threads ended by then, by those who opened and started them; what is printed is flushed here.
    What standard output does not take was asked for, so that its loss is no success; standard error may be lost.
    """
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # nobody reads it any more, or it was closed
            if stream is sys.stdout:
                from connector.errors import LocalError

                code = code or LocalError.exit_code
    os._exit(code)
