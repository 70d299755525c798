"""Commands that need an extra name it where it is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import Done, environment, finish


def without(library: str, command: str, folder: Path) -> Done:
    """Run a command in a process that cannot import this library."""
    code = f"import sys; sys.modules[{library!r}] = None; from connector.cli import main; main()"
    pipe = subprocess.PIPE
    line = [sys.executable, "-c", code, *command.split()]
    return finish(subprocess.Popen(line, cwd=folder, env=environment(), text=True, stdout=pipe, stderr=pipe))


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("starlette", "demo"),
        ("hypercorn", "archive serve --root r"),
        ("jwt", "archive grant upload --root r --public-key k"),
        ("starlette", "archive boxes --root r"),
    ],
)
def test_a_missing_extra_is_named(library: str, command: str, tmp_path: Path) -> None:
    done = without(library, command, tmp_path)
    assert done.code == 2
    assert "crypt4gh-connector[archive]" in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_needs_no_extra(tmp_path: Path) -> None:
    assert without("starlette", "archive serve --help", tmp_path).code == 0
