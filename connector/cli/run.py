"""Runs one command: settings, console, secrets, the trio loop and the exit code.

Errors become messages and exit codes (docs/exit-codes.md) only here.
"""

from __future__ import annotations

import getpass
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import attrs
import click
import trio

from connector.cli.console import Console, send_logs_to
from connector.cli.interruption import Interrupted, SignalHandler, handle_signals
from connector.cli.options import REQUEUE
from connector.cli.progress import Progress, Report, display_of, error_fields
from connector.cli.root import INTERRUPTED
from connector.cli.secrets import ProcessInput, Secrets, StandardInput, has_terminal
from connector.config import Settings
from connector.errors import ConnectorError
from connector.local.disk import read_settings
from connector.local.state_folder import StateFolder
from connector.transfer.reporting import Observer, Outcome, as_connector_error, iter_leaf_errors

if TYPE_CHECKING:
    from connector.cli.time_limit import TimeLimit
    from connector.clients.work_packages import AccessToken
    from connector.crypt4gh.keys import KeyPair
    from connector.session import Session

T = TypeVar("T")

RESUME_HINT = "Run the same command again to resume."


def _open_session(*arguments: Any, **options: Any) -> AbstractAsyncContextManager[Session]:
    from connector.session import open_session  # loading it takes a while, and many commands do not need it

    return open_session(*arguments, **options)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class AppContext:
    """The environment of a command; by default that of the process.

    Commands get it as one value, so that tests hand in their own instead of patching the process. `open_session` is
    that of `connector.session`.
    """

    environment: Mapping[str, str] = attrs.field(factory=lambda: os.environ, repr=False)
    stdin: StandardInput = attrs.field(factory=ProcessInput)
    out: TextIO | None = attrs.field(factory=lambda: sys.stdout)
    err: TextIO | None = attrs.field(factory=lambda: sys.stderr)
    err_is_terminal: bool = attrs.field(factory=lambda: _is_terminal(sys.stderr))
    input_descriptor: int = 0
    output_descriptor: int = 1
    has_terminal: Callable[[], bool] = has_terminal
    ask: Callable[[str], str] = getpass.getpass
    clock: Callable[[], float] = time.monotonic
    time_of_day: Callable[[], float] = time.time
    open_session: Callable[..., AbstractAsyncContextManager[Session]] = _open_session
    state_folder: Callable[[], StateFolder] = StateFolder


@attrs.frozen
class Access:
    """All that is needed to open a session: settings, the user's keys and the access token of a work package."""

    open_session: Callable[..., AbstractAsyncContextManager[Session]]
    settings: Settings
    keys: KeyPair
    token: AccessToken

    def in_session(
        self, job: Callable[[Session], Awaitable[T]], accessions: Sequence[str] | None = None
    ) -> Callable[[Observer], Awaitable[T]]:
        """Return a function that opens a session, see `open_session`, and runs `job` in it."""

        async def work(observer: Observer) -> T:
            async with self.open_session(
                self.settings, self.keys, self.token, observer=observer, accessions=accessions
            ) as session:
                return await job(session)

        return work


@attrs.frozen
class Invocation:
    """What a command works with."""

    settings: Settings
    console: Console
    secrets: Secrets
    context: AppContext
    limit: TimeLimit | None = None
    requeue_code: int = REQUEUE

    def access(self) -> Access:
        """Read the user's keys and the access token, prompting if necessary; `UsageError` if one is missing."""
        from connector.clients.work_packages import AccessToken  # with httpx, which encrypt and decrypt do not need

        keys = self.secrets.own_keys()
        return Access(self.context.open_session, self.settings, keys, AccessToken.parse(self.secrets.access_token()))

    def transfer(
        self,
        job: Callable[[Observer], Awaitable[Sequence[Outcome[Any]]]],
        *,
        verb: str,
    ) -> int:
        """Run a job over files, report each as it ends, and return the exit code.

        `verb` is the word for a finished file ("downloaded"). The code is the highest among the failed files, so that
        one failure among many is never 0.
        """
        report = Report(self.console, verb=verb)

        try:
            outcomes = self.wait_for(job, report=report)
        except Interrupted as request:
            report.interrupt(str(request), hint=RESUME_HINT, exit_code=request.exit_code)
            raise
        return report.conclude(outcomes)

    def wait_for(
        self,
        job: Callable[[Progress], Awaitable[T]],
        *,
        report: Report | None = None,
        on_force_quit: Callable[[], None] = lambda: None,
    ) -> T:
        """Run `job` under trio with progress and signal handling; return its result or raise its error.

        `on_force_quit` is called when a second signal ends the process at once.
        """
        context = self.context
        display = display_of(context.err_is_terminal, context.environment)
        progress = Progress(self.console, display=display, clock=context.clock, report=report)

        def on_request(request: Interrupted) -> None:
            self.console.error("Stopping; what is done so far is kept. To quit at once, press Ctrl-C.")

        try:
            with handle_signals() as handler:

                async def ticks() -> None:
                    shown = True
                    while True:
                        await trio.sleep(min(progress.every, self._check_limit(handler)))
                        if shown:
                            try:
                                progress.tick()
                            except Exception as error:
                                self.console.trace(error)
                                shown = False  # an error of the display must not end the transfers

                work = partial(_with_ticker, ticks, partial(job, progress))
                return handler.run(work, on_request=on_request, on_force_quit=on_force_quit)
        finally:
            progress.close()

    def _check_limit(self, handler: SignalHandler) -> float:
        """Stop the run when its time limit is reached; return the seconds until then."""
        if self.limit is None or handler.asked:
            return math.inf
        now = self.context.time_of_day()
        request = Interrupted(f"Stopped in time for {self.limit.text} (--until).", self.requeue_code)
        left = max(0.1, self.limit.end - now)
        if now >= self.limit.stop:
            handler.ask(request, grace=left)
        else:
            handler.end_in(left, request)
        return max(0.0, self.limit.stop - now)


async def _with_ticker(ticks: Callable[[], Awaitable[None]], job: Callable[[], Awaitable[T]]) -> T:
    result: list[T] = []
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks)
        try:
            result.append(await job())
        except Exception as error:
            errors.append(error)  # Raised outside, where no nursery wraps it into a group.
        nursery.cancel_scope.cancel()
    if errors:
        raise errors[0]
    return result[0]


def run(ctx: click.Context, work: Callable[[Invocation], int | None], *, resume_hint: str | None = None) -> None:
    """Do the work of a command and leave click with its exit code.

    `ctx.obj` may hold an `AppContext` to use instead of the real one. `resume_hint` is what a user is told who has
    interrupted it, by default to run the same command again.
    """
    context = ctx.obj if isinstance(ctx.obj, AppContext) else AppContext()
    options: Mapping[str, Any] = ctx.params
    console = Console(context.out, context.err, quiet=bool(options.get("quiet")), as_json=bool(options.get("as_json")))
    console.debug = bool(options.get("debug"))
    send_logs_to(console)
    try:
        code = work(_invocation(options, context, console)) or 0
    except Interrupted as interrupted:
        hint = RESUME_HINT if resume_hint is None else resume_hint
        console.error(f"{interrupted} {hint}".rstrip())
        code = interrupted.exit_code
    except (KeyboardInterrupt, click.Abort):
        console.error("Interrupted.")
        code = INTERRUPTED
    except Exception as error:
        console.trace(error)
        errors = [as_connector_error(one) for one in iter_leaf_errors(error)]
        for one in errors:
            console.error(f"Error: {one}")
            console.record({"ok": False, "error": error_fields(one)})
        codes = [one.exit_code for one in errors]
        code = ConnectorError.exit_code if ConnectorError.exit_code in codes else max(codes)
    ctx.exit(console.exit_code(code))


def _invocation(options: Mapping[str, Any], context: AppContext, console: Console) -> Invocation:
    settings = read_settings(options, context.environment, config=options.get("config"))
    until = options.get("until")
    limit = None
    if until is not None:
        from connector.cli.time_limit import TimeLimit

        limit = TimeLimit.read(until, context.time_of_day())
    secrets = Secrets(
        settings,
        console,
        environment=context.environment,
        stdin=context.stdin,
        ask=context.ask,
        can_ask=context.has_terminal,
    )
    return Invocation(settings, console, secrets, context, limit, options.get("requeue_code", REQUEUE))
