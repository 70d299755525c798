"""`-` among the files of a command: standard input, whose result goes to standard output."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import attrs

from connector.cli.run import Invocation
from connector.errors import UsageError
from connector.local.pipes import PIPE, PipeReader, PipeWriter


@attrs.frozen
class StandardPipes:
    """Standard input, the bytes that are left in it if that is known, and standard output."""

    source: PipeReader
    size: int | None
    target: PipeWriter


def without_pipe(files: Sequence[Path]) -> list[Path]:
    """The files that are named, without `-`.

    Raises:
        UsageError: If `-` is there twice: it is read once.
    """
    if files.count(PIPE) > 1:
        raise UsageError("Standard input (-) is named twice.", hint="It can be read once; name it once.")
    return [path for path in files if path != PIPE]


def standard_pipes(invocation: Invocation, files: Sequence[Path], output_dir: Path | None) -> StandardPipes | None:
    """The standard streams of this process if `-` is among the files.

    From then on no secret is read from standard input, and no passphrase is asked for there.

    Raises:
        UsageError: If something else is to be printed to standard output, or it is a terminal.
    """
    if PIPE not in files:
        return None
    if invocation.console.as_json:
        raise UsageError("--json and - both write to standard output.", hint="Leave out --json, or name files.")
    if output_dir is not None and len(files) == 1:
        raise UsageError(
            "What is read from standard input (-) has no name in a folder: it goes to standard output.",
            hint=f"Leave out --output-dir, and write > {output_dir}/NAME.",
        )
    context = invocation.context
    if os.isatty(context.output_descriptor):
        raise UsageError(
            "Standard output is a terminal, on which encrypted and other binary data does harm.",
            hint="Write it to a file (> NAME), or pipe it on (| PROGRAM).",
        )
    invocation.secrets.input_is_data = True
    return StandardPipes(
        PipeReader(context.input_descriptor), _left(context.input_descriptor), PipeWriter(context.output_descriptor)
    )


def _left(descriptor: int) -> int | None:
    try:
        found = os.fstat(descriptor)
        return found.st_size - os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(found.st_mode) else None
    except OSError:
        return None  # reading it will tell why
