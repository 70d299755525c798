"""A person's desk for command line tests: streams that can be read back, scripted answers, a clock by hand."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from connector.cli.root import run_command_line
from connector.cli.run import AppContext
from connector.cli.secrets import StandardInputKind
from connector.local.state_folder import StateFolder


class ScriptedInput:
    """Standard input that holds these lines and then ends."""

    def __init__(self, kind: StandardInputKind = "nothing", lines: Sequence[str] = ()) -> None:
        self._kind = kind
        self.lines = list(lines)

    def kind(self) -> StandardInputKind:
        return self._kind

    def line(self, seconds: float) -> str | None:
        assert seconds > 0
        return self.lines.pop(0) if self.lines else None


class HandClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Runs commands in this process and keeps what they print."""

    def __init__(
        self,
        *,
        open_session: Callable[..., Any] | None = None,
        environment: dict[str, str] | None = None,
        stdin: ScriptedInput | None = None,
        answers: Sequence[str] = (),
        terminal: bool = False,
        state_folder: Path | None = None,
    ) -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.prompts: list[str] = []
        self.answers = list(answers)
        self.clock = HandClock()
        given: dict[str, Any] = {}
        if open_session is not None:
            given["open_session"] = open_session
        if state_folder is not None:
            given["state_folder"] = lambda: StateFolder(state_folder)
        self.around = AppContext(
            # No configuration file of the person who runs the tests.
            environment={"CONNECTOR_CONFIG": os.devnull, **(environment or {})},
            stdin=stdin or ScriptedInput(),
            out=self.out,
            err=self.err,
            err_is_terminal=terminal,
            ask=self._ask,
            clock=self.clock,
            **given,
        )

    def run(self, *arguments: object) -> int:
        return run_command_line([str(argument) for argument in arguments], obj=self.around)

    @property
    def said(self) -> str:
        """All of standard error."""
        return self.err.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines of standard output."""
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def _ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)
