"""The command line: commands, prompts, progress and exit codes. Nothing else of the package prints.

Importing this package is cheap on purpose: ``connector --help`` answers before anything heavy is loaded.
"""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line with the process' own arguments and return its exit code."""
    # What is loaded stays: to look through it for garbage hundreds of times meanwhile, and several times more at the
    # end, is a tenth of a start. Not so rarely, though, that the circles of a transfer become megabytes.
    gc.set_threshold(5_000, 20, 100)
    from connector.cli.root import run_command_line

    try:
        return run_command_line()
    finally:
        gc.freeze()
