"""The ``connector`` that the tests run as a process: this checkout's, or the installed one that ``CONNECTOR`` names.

``CONNECTOR=path/to/connector pytest tests/reliability`` plays the same scenes to another version.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from tests.support import other_clock

NAMED = os.environ.get("CONNECTOR", "")
PYTHON = str(Path(shlex.split(NAMED)[0]).with_name("python")) if NAMED else sys.executable
"""The interpreter that can import it."""


def command(*arguments: object) -> list[str]:
    """The command line for ``arguments``."""
    program = shlex.split(NAMED) if NAMED else [PYTHON, "-m", "connector"]
    return [*program, *map(str, arguments)]


def environment(**ours: str) -> dict[str, str]:
    """This process's environment without settings of the connector, and ``ours``.

    Without ``PYTHONPATH`` where another version is named, which would otherwise load this checkout.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CONNECTOR", "XDG_")) and not (NAMED and name == "PYTHONPATH")
    }
    return {**inherited, "CONNECTOR_CONFIG": os.devnull, **ours}


def on_another_clock(*, shift: float) -> dict[str, str]:
    """Environment of a command whose time of day is off by ``shift`` seconds."""
    paths = [str(other_clock.__path__[0]), *filter(None, [environment().get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "CHAOS_CLOCK_SHIFT": str(shift),
    }


@attrs.frozen
class Done:
    """An ended command."""

    code: int
    out: str
    err: str


@attrs.frozen
class Program:
    """``connector`` as a user has it: run in ``folder`` with ``settings`` as its environment.

    ``runner`` is a command that runs the one behind it, as ``env`` does.
    """

    folder: Path
    settings: Mapping[str, str]
    runner: tuple[str, ...] = ()

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command. ``environment`` is added to the settings; other options go to :class:`subprocess.Popen`."""
        extra: Mapping[str, str] = options.pop("environment", {})
        pipes: dict[str, int | IO[Any]] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(
            [*self.runner, *command(*arguments)],
            cwd=self.folder,
            env=environment(**{**self.settings, **extra}),
            text=True,
            **{**pipes, **options},
        )

    def run(self, *arguments: object, timeout: float = 300, **options: Any) -> Done:
        """Run a command to its end; one that does not end is killed and fails the test with what it said."""
        return finish(self.start(*arguments, **options), timeout=timeout)


def finish(process: subprocess.Popen[str], *, timeout: float = 300) -> Done:
    """Wait for a command; one that does not end is killed and fails the test with what it said."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{out}\n{err}") from None
    return Done(process.returncode, out or "", err or "")


def kill_at_end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End what a test has left running."""
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
