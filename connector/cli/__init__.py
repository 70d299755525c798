"""The command line: commands, prompts, progress and exit codes. Nothing else of the package prints.

Importing this package is cheap on purpose: ``connector --help`` answers before anything heavy is loaded.
"""

from __future__ import annotations


def main() -> int:
    """Run the command line with the process' own arguments and return its exit code."""
    from connector.cli.root import run_command_line

    return run_command_line()
