"""The command line: commands, prompts, progress and exit codes. Nothing else of the package prints.

Importing this package is cheap on purpose: `connector --help` answers before anything heavy is loaded.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the process' own arguments, and end the process with its exit code."""
    # What is loaded at the start stays in use: fewer collections save a tenth of it. Collections must not become so
    # rare that the reference cycles of a transfer take megabytes.
    gc.set_threshold(5_000, 20, 100)
    from connector.cli.interruption import Interrupted, handle_signals

    with handle_signals():
        try:
            from connector.cli.console import prepare_standard_streams
            from connector.cli.root import run_command_line

            prepare_standard_streams()
            code = run_command_line()
        except Interrupted as interrupted:
            with suppress(OSError):
                os.write(2, f"{interrupted}\n".encode())
            code = interrupted.exit_code
    sys.exit(flushed(code))


def flushed(code: int) -> int:
    """Flush the standard streams and return the exit code: output that was asked for and is lost is no success.

    A stream that cannot be flushed is redirected, since the interpreter would flush it again and complain.
    """
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # its reader is gone, or it was closed
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout:
                from connector.errors import LocalError

                code = code or LocalError.exit_code
    return code
