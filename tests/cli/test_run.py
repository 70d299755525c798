"""Errors become sentences and exit codes; signals end a run in good order. Toy commands stand for the real ones."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
import trio

from connector.cli.options import output_options, time_limit_options, transfer_options
from connector.cli.run import Invocation, run
from connector.errors import (
    BrokenError,
    ConnectorError,
    IntegrityError,
    LocalError,
    RefusedError,
    UsageError,
)
from connector.transfer.reporting import AlreadyThere, Observer, Outcome
from tests.support.desk import Desk
from tests.support.waiting import until


def try_out(desk: Desk, work: Callable[[Invocation], int], *arguments: str) -> int:
    """Run `work` as a command and return its exit code."""

    @click.command()
    @transfer_options
    @output_options
    @click.pass_context
    def command(ctx: click.Context, /, **_: object) -> None:
        run(ctx, work)

    code = command.main(list(arguments), standalone_mode=False, obj=desk.around)
    assert isinstance(code, int)
    return code


def raising(error: BaseException) -> Callable[[Invocation], int]:
    def work(invocation: Invocation) -> int:
        raise error

    return work


@attrs.frozen
class Made:
    """What a toy transfer makes."""

    already_there: AlreadyThere | None = None


FAMILIES: list[tuple[BaseException, int]] = [
    (UsageError("No such option."), 2),
    (LocalError("The disk is full."), 3),
    (RefusedError("The token has expired.", status=403), 4),
    (BrokenError("The archive does not answer."), 5),
    (IntegrityError("Damaged."), 6),
    (OSError(28, "No space left on device", "/data/x"), 3),
    (PermissionError(13, "Permission denied", "/data/x"), 3),
    (ConnectionResetError(104, "Connection reset by peer"), 5),
    (socket.gaierror(-2, "Name or service not known"), 5),
    (ZeroDivisionError("division by zero"), 1),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), FAMILIES, ids=lambda value: type(value).__name__)
def test_each_family_has_its_code_and_one_sentence(error: BaseException, code: int) -> None:
    desk = Desk()
    assert try_out(desk, raising(error)) == code
    assert len(desk.said.splitlines()) == 1
    assert "Traceback" not in desk.said


def test_the_hint_is_said_too() -> None:
    desk = Desk()
    try_out(desk, raising(LocalError("The disk is full.", hint="Free 3 GB.")))
    assert desk.said == "Error: The disk is full. Free 3 GB.\n"


def test_groups_are_taken_apart_and_the_highest_code_counts() -> None:
    desk = Desk()
    group = ExceptionGroup("both", [LocalError("One."), ExceptionGroup("more", [BrokenError("Two.")])])
    assert try_out(desk, raising(group)) == 5
    assert desk.said == "Error: One.\nError: Two.\n"


def test_a_bug_in_a_group_is_a_bug() -> None:
    assert try_out(Desk(), raising(ExceptionGroup("both", [IntegrityError("One."), TypeError("two")]))) == 1


def test_debug_shows_the_traceback_without_secrets() -> None:
    desk = Desk()
    error = RuntimeError("GET https://s3/b/o?X-Amz-Signature=beefbeef: Bearer abcdef")
    assert try_out(desk, raising(error), "--debug") == 1
    assert "Traceback (most recent call last)" in desk.said
    assert "beefbeef" not in desk.said
    assert "abcdef" not in desk.said


def test_debug_never_lets_crypt4gh_speak() -> None:
    def work(invocation: Invocation) -> int:
        logging.getLogger("connector.engine").debug("a plain line")
        logging.getLogger("crypt4gh.keys").debug("private key: c0ffee")
        logging.getLogger("crypt4gh").critical("private key: c0ffee")
        return 0

    desk = Desk()
    assert try_out(desk, work, "--debug") == 0
    assert desk.said == "debug connector.engine: a plain line\n"


def test_without_debug_log_lines_stay_away() -> None:
    def work(invocation: Invocation) -> int:
        logging.getLogger("httpx").info("HTTP Request: GET http://x")
        return 0

    desk = Desk()
    assert try_out(desk, work) == 0
    assert desk.said == ""


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--part-size", "lots"], {}, "--part-size: 'lots'"),
        ([], {"CONNECTOR_PART_SIZE": "lots"}, "CONNECTOR_PART_SIZE: 'lots'"),
        (["--config", "/no/such/file"], {}, "/no/such/file"),
        ([], {"CONNECTOR_CONFIG": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_wrong_settings_are_usage_errors_that_name_their_source(
    arguments: list[str], environment: dict[str, str], says: str
) -> None:
    desk = Desk(environment=environment)
    assert try_out(desk, raising(AssertionError("not reached")), *arguments) == 2
    assert says in desk.said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_configuration_file_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text("part_size = '6MiB'\nmemory = '64MiB'", encoding=encoding)
    sizes = []

    def work(invocation: Invocation) -> int:
        sizes.append((invocation.settings.part_size, invocation.settings.memory))
        return 0

    desk = Desk(environment={"CONNECTOR_MEMORY": "32MiB"})
    assert try_out(desk, work, "--config", str(file)) == 0
    assert sizes == [(6 * 1024**2, 32 * 1024**2)]


@attrs.frozen
class Moved:
    bytes: int
    path: Path = Path("/some/where")
    secret: str = attrs.field(default="hush", repr=False)


def transferring(*outcomes: Outcome[Moved], tell: bool = True) -> Callable[[Invocation], int]:
    async def job(observer: Observer) -> Sequence[Outcome[Moved]]:
        for outcome in outcomes:
            if tell:
                observer.opened(outcome.label, 10)
                observer.finished(outcome)
        return outcomes

    return lambda invocation: invocation.transfer(job, verb="moved")


def failed(label: str, error: ConnectorError) -> Outcome[Moved]:
    return Outcome(label, error=error)


@pytest.mark.parametrize("tell", [True, False], ids=["told as they end", "told at the end"])
def test_one_failure_among_many_is_never_zero(tell: bool) -> None:
    desk = Desk()
    outcomes = [
        Outcome("a", Moved(7)),
        failed("b", LocalError("No.")),
        failed("c", BrokenError("Cut.")),
        Outcome("d", Moved(8)),
    ]
    assert try_out(desk, transferring(*outcomes, tell=tell), "--json") == 5
    assert [(record["name"], record["ok"]) for record in desk.records] == [
        ("a", True),
        ("b", False),
        ("c", False),
        ("d", True),
    ]
    assert desk.records[0] == {"name": "a", "ok": True, "bytes": 7, "path": "/some/where"}
    assert desk.records[2]["error"] == {"family": "broken", "message": "Cut.", "hint": "", "exit_code": 5}
    assert desk.said.splitlines()[-1] == "2 of 4 files moved, 2 failed."


def test_all_well_is_zero() -> None:
    desk = Desk()
    assert try_out(desk, transferring(Outcome("a", Moved(7)), Outcome("b", Moved(7)))) == 0
    assert desk.said.splitlines()[-1] == "2 of 2 files moved."
    assert desk.out.getvalue() == ""


def test_quiet_prints_failures_only() -> None:
    desk = Desk()
    assert try_out(desk, transferring(Outcome("a", Moved(7)), failed("b", LocalError("No."))), "-q") == 3
    assert desk.said == "b: No.\n"


def test_an_error_of_the_display_is_told_once_and_ends_no_transfer() -> None:
    async def job(observer: Observer) -> Sequence[Outcome[Moved]]:
        not_a_name: Any = 5
        observer.opened(not_a_name, 10)
        await until(lambda: "Traceback" in desk.said)
        await trio.sleep(0.5)  # it is drawn every 0.2 s
        return [Outcome("a", Moved(7))]

    desk = Desk(terminal=True, environment={"TERM": "xterm"})
    assert try_out(desk, lambda invocation: invocation.transfer(job, verb="moved"), "--debug") == 0
    assert desk.said.count("Traceback") == 1
    assert desk.said.endswith("a: moved\n")


def test_an_error_of_the_job_comes_through_as_itself() -> None:
    async def job(observer: object) -> list[Outcome[Moved]]:
        await trio.sleep(0)
        raise RefusedError("The work package has expired.")

    desk = Desk()
    code = try_out(desk, lambda invocation: invocation.transfer(job, verb="moved"), "--json")
    assert code == 4
    assert desk.said == "Error: The work package has expired.\n"
    assert desk.records[0]["ok"] is False


TOY = """
    import sys, time, signal
    import click, trio
    from pathlib import Path
    from connector.cli.options import output_options, time_limit_options
    from connector.cli.run import run

    async def job(progress):
        Path(sys.argv[1]).touch()
        try:
            await trio.sleep_forever()
        finally:
            print("unwound", flush=True)
            if {stubborn}:
                with trio.CancelScope(shield=True):
                    await trio.sleep({stubborn})

    @click.command()
    @time_limit_options
    @output_options
    @click.pass_context
    def command(ctx, **_):
        run(ctx, lambda invocation: invocation.wait_for(job))

    sys.exit(command.main(sys.argv[2:], standalone_mode=False))
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(*arguments: str, stubborn: int = 0, ignore: bool = False) -> subprocess.Popen[str]:
        ready = tmp_path / "ready"
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(TOY.format(stubborn=stubborn)), str(ready), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignore else None,
        )
        deadline = time.monotonic() + 180
        while not ready.exists():
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    return start


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
        (signal.SIGUSR2, 140),
        (signal.SIGXCPU, 152),
    ],
)
def test_one_signal_ends_a_run_in_good_order(
    start: Callable[..., subprocess.Popen[str]], number: signal.Signals, code: int
) -> None:
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=180)
    assert process.returncode == code
    assert out == "unwound\n"
    assert f"Interrupted by {number.name}" in err
    assert "Traceback" not in err


def test_a_second_signal_ends_it_at_once(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(stubborn=60)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "unwound\n"
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Ended at once" in err
    assert time.monotonic() - began < 50


@pytest.mark.skipif(sys.platform == "win32", reason="not all of these signals")
def test_two_of_one_moment_are_one_request(start: Callable[..., subprocess.Popen[str]]) -> None:
    """As timeout(1) sends them: to its child, and to the group that the child is in."""
    process = start()
    # Stopped, it has both when it goes on, however long this process is kept from sending the second one.
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        process.send_signal(number)
    out, err = process.communicate(timeout=180)
    assert process.returncode in (130, 143)
    assert out == "unwound\n"
    assert "Ended at once" not in err


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="no such signal")
def test_the_system_repeats_sigxcpu_which_is_no_second_request(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(stubborn=1)
    for _ in range(3):
        process.send_signal(signal.SIGXCPU)
        time.sleep(0.3)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 152
    assert "Interrupted by SIGXCPU" in err


def test_under_nohup_a_hangup_is_ignored(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(ignore=True)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.terminate()
    process.communicate(timeout=180)
    assert process.returncode == 143


def test_what_was_there_before_is_said_to_be() -> None:
    async def job(observer: Observer) -> Sequence[Outcome[Made]]:
        kinds: tuple[AlreadyThere | None, ...] = (None, "size", "record", "sha256")
        return [Outcome(str(kind), value=Made(kind)) for kind in kinds]

    desk = Desk()
    assert try_out(desk, lambda invocation: invocation.transfer(job, verb="downloaded"), "--json") == 0
    assert desk.said.splitlines() == [
        "None: downloaded",
        "size: there already, only the size was compared",
        "record: there already, unchanged since an earlier run finished it",
        "sha256: there already, size and sha256 compared",
        "4 of 4 files downloaded, 3 of them there already.",
    ]
    assert [record["already_there"] for record in desk.records] == [None, "size", "record", "sha256"]


def test_a_run_stops_in_time_for_its_limit(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--until", "+6s")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 75
    assert out == "unwound\n"
    assert "(--until)" in err
    assert "Ended at once" not in err


def test_what_does_not_stop_in_time_for_its_limit_is_ended_with_the_same_code(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("--until", "+6s", "--requeue-code", "104", stubborn=60)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 104
    assert out == "unwound\n"
    assert "Ended at once" in err


def test_a_signal_comes_before_the_limit(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--until", "+1h")
    process.terminate()
    process.communicate(timeout=180)
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("code", "usable"), [(0, False), (6, False), (7, True), (104, True), (127, False), (256, False)]
)
def test_codes_that_mean_something_else_are_no_requeue_codes(code: int, usable: bool) -> None:
    desk = Desk()
    ran = desk.run("encrypt", "no-such-file", "--recipient-public-key-path", "no-such-key", "--requeue-code", code)
    assert ran == (3 if usable else 2)


def test_a_limit_that_has_passed_is_a_usage_error_that_says_so() -> None:
    desk = Desk(environment={})
    ran = desk.run("decrypt", "a.c4gh", "--until", "2001-01-01T00:00", "--json")
    assert ran == 2
    assert "passed already" in desk.said
    assert desk.records[0]["error"]["family"] == "usage"


def test_a_run_that_is_stopped_says_which_files_are_unfinished() -> None:
    async def job(observer: Observer) -> Sequence[Outcome[Moved]]:
        observer.planned([("a", 10), ("b", None), ("c", 10)])  # type: ignore[attr-defined]
        observer.finished(Outcome("b", Moved(7)))
        await trio.sleep_forever()
        raise AssertionError

    @click.command()
    @time_limit_options
    @output_options
    @click.pass_context
    def command(ctx: click.Context, /, **_: object) -> None:
        run(ctx, lambda invocation: invocation.transfer(job, verb="moved"))

    desk = Desk()
    code = command.main(["--until", "+4s", "--json"], standalone_mode=False, obj=desk.around)
    assert code == 75
    assert [(record["name"], record["ok"]) for record in desk.records] == [("b", True), ("a", False), ("c", False)]
    assert desk.records[1]["error"]["family"] == "interrupted"
    assert desk.records[1]["error"]["exit_code"] == 75
    assert "2 of 3" in desk.said
    assert "again" not in desk.said.partition("Stopping;")[2].partition("\n")[0]  # nobody has pressed Ctrl-C yet


DROPPED = """
    import os, signal, sys, time
    from connector.cli.interruption import Interrupted, handle_signals

    class Interrupting:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.1)

    async def job():
        print("not reached")

    with handle_signals() as handler:
        interrupting = Interrupting()
        del interrupting
        try:
            handler.run(job)
        except Interrupted as interrupted:
            sys.exit(interrupted.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_signal_where_nothing_can_be_raised_is_not_lost_and_shows_no_traceback() -> None:
    command = [sys.executable, "-c", textwrap.dedent(DROPPED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (138, "", "")
