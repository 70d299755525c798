"""Jobs that are stopped by signals and run again, on the same node of a cluster or on the next one."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from typing import Any

import pytest

from tests.reliability.batch_jobs import PARTS, Job, nothing_ignored, wait_for_handlers, wait_until_it_says
from tests.reliability.conftest import Scripted
from tests.support.program import Done, finish, kill_at_end
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and host names as Linux has them")

CODES = {
    signal.SIGHUP: 129,
    signal.SIGINT: 130,
    signal.SIGUSR1: 138,
    signal.SIGUSR2: 140,
    signal.SIGTERM: 143,
    signal.SIGXCPU: 152,
}
STALE_AFTER = 180
BOTH_WAYS = pytest.mark.parametrize("direction", ["download", "upload"])
RUNS = int(os.environ.get("CHAOS_KILLS", "3"))
MINUTES = pytest.mark.skipif("CHAOS_KILLS" not in os.environ, reason="takes minutes: nox -s chaos")
ALL_SIGNALS = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


def assert_stopped_in_order(done: Done, number: signal.Signals) -> None:
    assert done.code == CODES[number], done.err
    assert "Traceback" not in done.err
    assert "Ended at once" not in done.err
    assert f"Interrupted by {number.name}" in done.err


# Signals --------------------------------------------------------------------------------------------------------------


@BOTH_WAYS
@ALL_SIGNALS
def test_a_signal_ends_a_run_in_order_and_the_same_command_goes_on(
    scripted: Scripted, direction: str, number: signal.Signals
) -> None:
    job = Job.prepare(scripted, direction)
    process = job.start_and_wait()
    process.send_signal(number)
    assert_stopped_in_order(finish(process), number)
    assert job.locks == [], "they are released"
    done = job.run()
    assert done.code == 0, done.err
    assert job.is_done()
    assert job.moved <= PARTS + 2, "only what was on its way went again"
    assert job.leftovers == []


@ALL_SIGNALS
def test_a_signal_while_the_access_token_is_waited_for(scripted: Scripted, number: signal.Signals) -> None:
    job = Job.prepare(scripted, "download")
    process = job.start(stdin=subprocess.PIPE, environment={"CONNECTOR_ACCESS_TOKEN": ""})
    wait_for_handlers(process)
    time.sleep(0.5)
    process.send_signal(number)
    assert_stopped_in_order(finish(process), number)


@ALL_SIGNALS
def test_a_signal_in_the_first_moment(scripted: Scripted, number: signal.Signals) -> None:
    process = Job.prepare(scripted, "download").start()
    wait_for_handlers(process)
    process.send_signal(number)
    assert_stopped_in_order(finish(process), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_while_a_passphrase_is_typed_leaves_the_terminal_as_it_was(
    scripted: Scripted, number: signal.Signals
) -> None:
    key = scripted.folder / "guarded.sec"
    made = scripted.program.run(
        "keygen", "--sk", key, "--pk", "guarded.pub", environment={"CONNECTOR_PASSPHRASE": "correct horse"}
    )
    assert made.code == 0, made.err
    job = Job.prepare(scripted, "download")
    ours, theirs = pty.openpty()
    try:
        process = job.start(
            environment={"CONNECTOR_MY_PRIVATE_KEY_PATH": str(key)},
            stdin=theirs,
            start_new_session=True,
        )
        wait_until(lambda: not termios.tcgetattr(theirs)[3] & termios.ECHO, "it does not ask")
        process.send_signal(number)
        assert_stopped_in_order(finish(process), number)
        assert termios.tcgetattr(theirs)[3] & termios.ECHO
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_while_nobody_reads_what_is_said_at_the_end(scripted: Scripted, number: signal.Signals) -> None:
    """The reader of standard output has stopped, and the pipe is full."""
    job = Job.prepare(scripted, "download", latency=0.0)
    reading, writing = os.pipe()
    try:
        _fill(writing)
        process = job.start("--json", stdout=writing)
        wait_until(job.is_done, "nothing comes")
        time.sleep(0.5)
        assert process.poll() is None, "it waits for its reader"
        process.send_signal(number)
        done = finish(process)
    finally:
        os.close(reading)
        os.close(writing)
    assert done.code == CODES[number], done.err
    assert "Traceback" not in done.err
    assert job.is_done()


def test_what_is_ignored_stays_ignored(scripted: Scripted) -> None:
    """As under nohup, and as a shell starts what it does not wait for."""

    def ignore() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)

    job = Job.prepare(scripted, "download")
    process = job.start_and_wait(preexec_fn=ignore)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        process.send_signal(number)
    job.let_go()
    assert finish(process).code == 0
    assert job.is_done()


@pytest.mark.skipif(not shutil.which("timeout"), reason="no timeout(1)")
def test_timeout_asks_twice_in_one_moment_and_means_it_once(scripted: Scripted) -> None:
    job = Job.prepare(scripted, "download", latency=1.0)
    again = ("timeout", "--preserve-status", "--signal=TERM", "3")
    process = subprocess.Popen(
        [*again, *_command(job)], cwd=scripted.folder, env=_environment(job), stderr=subprocess.PIPE, text=True
    )
    assert_stopped_in_order(finish(process), signal.SIGTERM)
    assert job.run().code == 0
    assert job.is_done()


def test_a_limit_of_processor_time_ends_a_run_in_order(scripted: Scripted) -> None:
    """The system sends SIGXCPU at the soft limit, again each second, and SIGKILL at the hard one."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    scripted.program.run("download", "--output-dir", "out", "--help")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_up = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    limit = int(start_up) + 1
    (scripted.folder / "big.bin").write_bytes(bytes(256 * 1024**2))
    (scripted.folder / "big.pub").write_bytes((scripted.folder / "my.pub").read_bytes())
    files = [scripted.folder / f"{number}.bin" for number in range(60)]
    for path in files:
        path.symlink_to("big.bin")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 20))

    process = scripted.program.start(
        "encrypt", "--recipient-public-key-path", "big.pub", "--output-dir", "sealed", *files, preexec_fn=limited
    )
    done = finish(process)
    assert_stopped_in_order(done, signal.SIGXCPU)
    assert [path.name for path in (scripted.folder / "sealed").iterdir() if path.suffix != ".c4gh"] == []


@BOTH_WAYS
def test_a_transfer_stops_in_time_for_its_limit_and_says_what_is_unfinished(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    done = job.run_within_limit("--json", environment={"CONNECTOR_REQUEUE_CODE": "104"})
    assert done.code == 104, done.err
    [record] = _records(done)
    assert (record["name"], record["ok"], record["error"]["exit_code"]) == (job.name, False, 104)
    assert job.moved > 0
    done = job.run(environment={"CONNECTOR_UNTIL": "+1h"})
    assert done.code == 0, done.err
    assert job.is_done()
    assert job.moved <= PARTS + 2
    assert job.leftovers == []


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_recryption_stops_in_time_for_its_limit(scripted: Scripted, command: str) -> None:
    folder = scripted.folder
    (folder / "big.bin").write_bytes(bytes(32 * 1024**2))
    if command == "decrypt":
        assert scripted.program.run("encrypt", "big.bin", "--recipient-public-key-path", "my.pub").code == 0
    ending, source = (".c4gh", "big.bin.c4gh") if command == "decrypt" else ("", "big.bin")
    names = [f"{number}.bin{ending}" for number in range(200)]
    for name in names:
        (folder / name).symlink_to(source)
    options = () if command == "decrypt" else ("--recipient-public-key-path", "my.pub")
    for seconds in (6, 30, 120):
        limit = ("--until", f"+{seconds}s")
        done = scripted.program.run(command, *names, *options, "--output-dir", "made", *limit, "--json")
        assert done.code == 75, done.err
        if finished := [record["name"] for record in _records(done) if record["ok"]]:
            break
    assert len(_records(done)) == len(names), "a line for each, whatever became of it"
    assert len(finished) < len(names)
    assert len(list((folder / "made").iterdir())) == len(finished), "nothing half-made"


def test_a_limit_holds_where_nobody_reads_what_is_said(scripted: Scripted) -> None:
    job = Job.prepare(scripted, "upload")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    process = job.start("--until", "+6s", stderr=writer)
    os.close(writer)
    try:
        assert process.wait(PATIENCE) == 75
    finally:
        os.close(reader)
        kill_at_end([process])
    assert job.run().code == 0
    assert job.is_done()


@BOTH_WAYS
@pytest.mark.parametrize("stop", [signal.SIGTSTP, signal.SIGSTOP], ids=lambda number: number.name)
def test_stopped_and_continued_it_goes_on_over_new_connections(
    scripted: Scripted, direction: str, stop: signal.Signals
) -> None:
    job = Job.prepare(scripted, direction)
    process = job.start_and_wait(environment={"CONNECTOR_READ_TIMEOUT": "2", "CONNECTOR_RETRIES": "8"})
    process.send_signal(stop)
    time.sleep(4)
    job.let_go()
    process.send_signal(signal.SIGCONT)
    done = finish(process)
    assert done.code == 0, done.err
    assert job.is_done()
    assert job.leftovers == []


@pytest.mark.slow
@BOTH_WAYS
def test_anything_at_random_moments_is_resumed_and_leaves_nothing_half_made(scripted: Scripted, direction: str) -> None:
    """``CHAOS_KILLS`` runs each way: most are stopped or killed, which of the eight and when is drawn."""
    rng = random.Random(RUNS)
    codes: Counter[str] = Counter()
    job = Job.prepare(scripted, direction, latency=0.2)
    span = 4.0
    for run in range(RUNS):
        number = rng.choice([*CODES, signal.SIGTSTP, signal.SIGKILL])
        process = job.start()
        wait_for_handlers(process)
        time.sleep(rng.uniform(0, span))
        process.send_signal(number)
        if number == signal.SIGTSTP:
            time.sleep(0.5)
            process.send_signal(signal.SIGCONT)
        done = finish(process)
        codes[f"{number.name} {done.code}"] += 1
        expected = {signal.SIGTSTP: 0, signal.SIGKILL: -9}.get(number, CODES.get(number, 0))
        assert done.code in (0, expected), (number, done.err)
        assert "Traceback" not in done.err
        if done.code != -9:
            assert job.locks == []
        if job.is_done() or run == RUNS - 1:
            done = job.run()
            assert done.code == 0, done.err
            assert job.is_done()
            assert job.leftovers == []
            job = job.anew(f"{run}")
    print(direction, dict(sorted(codes.items())))


# The next node -------------------------------------------------------------------------------------------------------


@BOTH_WAYS
def test_usr1_on_one_node_and_the_same_command_at_once_on_the_next(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.send_signal(signal.SIGUSR1)
    second = job.start(on="node2")
    try:
        assert_stopped_in_order(finish(first), signal.SIGUSR1)
        done = finish(second)
    finally:
        kill_at_end([first, second])
    assert done.code == 0, done.err
    assert job.is_done()
    assert job.moved <= PARTS + 2
    assert job.leftovers == []


@BOTH_WAYS
def test_killed_on_one_node_the_next_one_waits_until_its_lock_is_stale(scripted: Scripted, direction: str) -> None:
    """The whole three minutes, in a few seconds: the lock file is made older than it is."""
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.kill()
    finish(first)
    asked = Counter(job.scripted.archive.counts)
    second = job.start(on="node2")
    try:
        wait_until_it_says(second, "node1")
        job.age_locks(STALE_AFTER + 1)
        done = finish(second)
    finally:
        kill_at_end([second])
    assert done.code == 0, done.err
    assert job.scripted.archive.counts["object"] - asked["object"] <= 2, "the archive is not asked in vain"
    assert job.is_done()
    assert job.moved <= PARTS + 2 + 2
    assert job.leftovers == []


@MINUTES
@pytest.mark.slow
@BOTH_WAYS
def test_killed_on_one_node_the_next_one_waits_three_minutes(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.kill()
    finish(first)
    began = time.monotonic()
    done = finish(job.start(on="node2"), timeout=240)
    assert done.code == 0, done.err
    assert STALE_AFTER - 25 < time.monotonic() - began < STALE_AFTER + 30
    assert job.is_done()
    assert job.leftovers == []


@BOTH_WAYS
def test_the_other_files_of_a_batch_go_on_meanwhile(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.kill()
    finish(first)
    others = [Job.prepare(scripted, direction, latency=0.0, name=f"GHGAF0{number}", size=1000) for number in (2, 3, 4)]
    second = job.start(*(other.name for other in others), on="node2")
    try:
        wait_until(lambda: all(other.is_done() for other in others), "the others wait too")
        assert second.poll() is None
        assert not job.is_done()
        job.age_locks(STALE_AFTER + 1)
        done = finish(second)
    finally:
        kill_at_end([second])
    assert done.code == 0, done.err
    assert job.is_done()


@BOTH_WAYS
def test_a_wait_for_another_node_ends_in_time_for_the_limit(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.kill()
    finish(first)
    done = job.run_within_limit("--json", on="node2", said="node1")
    assert done.code == 75, done.err
    assert "node1" in done.err
    [record] = _records(done)
    assert record["ok"] is False
    assert record["name"] == job.name
    assert record["error"]["family"] == "interrupted"


@BOTH_WAYS
def test_what_another_node_works_on_is_not_discarded(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    first.kill()
    finish(first)
    discard = ("discard", job.name, "--output-dir", job.out)
    done = job.program("node2").run(*discard)
    assert done.code == 3, done.err
    assert "node1" in done.err
    assert "3 minutes" in done.err
    job.age_locks(STALE_AFTER + 1)
    done = job.program("node2").run(*discard)
    assert done.code == 0, done.err
    assert job.leftovers == []


@BOTH_WAYS
def test_a_node_that_lives_is_waited_for_until_it_is_done(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait(on="node1")
    second = job.start(on="node2")
    try:
        assert finish(first).code == 0
        done = finish(second)
    finally:
        kill_at_end([first, second])
    assert done.code == 0, done.err
    assert job.is_done()
    assert job.moved <= PARTS, "the second moves nothing"
    assert job.leftovers == []


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
@pytest.mark.parametrize("released", [True, False], ids=["released", "stale"])
def test_the_target_of_a_recryption_is_waited_for_too(scripted: Scripted, command: str, released: bool) -> None:
    folder = scripted.folder
    (folder / "a.bin").write_bytes(b"abc" * 100_000)
    encrypt: tuple[str, ...] = ("encrypt", "a.bin", "--recipient-public-key-path", "my.pub", "--output-dir", "made")
    arguments, target = encrypt, folder / "made" / "a.bin.c4gh"
    if command == "decrypt":
        assert scripted.program.run(*encrypt).code == 0
        arguments, target = ("decrypt", "made/a.bin.c4gh"), folder / "made" / "a.bin"
    lock = target.with_name(target.name + ".part.lock")
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"host": "node1", "pid": 7, "started": "1", "touched": True}))
    process = scripted.program.start(*arguments)
    try:
        wait_until_it_says(process, "node1")
        if released:
            lock.unlink()
        else:
            os.utime(lock, (time.time() - STALE_AFTER - 1,) * 2)
        done = finish(process)
    finally:
        kill_at_end([process])
    assert done.code == 0, done.err
    assert target.exists()
    assert not lock.exists()


@BOTH_WAYS
def test_a_process_of_this_machine_is_not_waited_for_and_the_hint_helps(scripted: Scripted, direction: str) -> None:
    job = Job.prepare(scripted, direction)
    first = job.start_and_wait()
    job.hold_up(300)
    try:
        done = job.run()
        assert done.code == 3, done.err
        assert f"kill {first.pid}" in done.err
        subprocess.run(["kill", str(first.pid)], check=True)
        finish(first)
    finally:
        kill_at_end([first])
    job.hold_up(0)
    assert job.run().code == 0
    assert job.is_done()


@BOTH_WAYS
def test_a_live_process_in_another_container_of_the_same_name_is_not_taken_over(
    scripted: Scripted, direction: str
) -> None:
    """Its PID means nothing to us: there may be no such process here."""
    job = Job.prepare(scripted, direction)
    container = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if subprocess.run([*container, "true"], check=False).returncode:
        pytest.skip("NOT TESTED: this machine makes no PID namespaces")
    patient = {**_environment(job), "CONNECTOR_READ_TIMEOUT": "600"}
    first = subprocess.Popen([*container, *_command(job)], cwd=scripted.folder, env=patient, text=True)
    try:
        job.wait_within(first)
        second = job.program().start(*job.command, preexec_fn=nothing_ignored)
        wait_for_handlers(second)
        time.sleep(2)
        assert second.poll() is None, "it waits"
        assert job.moved <= PARTS
        second.send_signal(signal.SIGTERM)
        assert_stopped_in_order(finish(second), signal.SIGTERM)
        job.let_go()
        assert first.wait(PATIENCE) == 0
    finally:
        kill_at_end([first])
    assert job.is_done()
    assert job.moved <= PARTS


@MINUTES
@pytest.mark.slow
@BOTH_WAYS
def test_stopped_for_minutes_and_taken_over_it_stops_before_it_spoils_anything(
    scripted: Scripted, direction: str
) -> None:
    job = Job.prepare(scripted, direction, latency=2.0)
    first = job.start_and_wait(on="node1")
    first.send_signal(signal.SIGSTOP)
    second = job.start(on="node2")
    try:
        time.sleep(1)
        before = job.moved
        wait_until(lambda: job.moved >= before + 3, "the second never takes over", seconds=STALE_AFTER + 60)
        assert second.poll() is None
        first.send_signal(signal.SIGCONT)
        done = finish(first)
        assert done.code == 3, done.err
        assert "taken over" in done.err
        assert finish(second).code == 0
    finally:
        kill_at_end([first, second])
    assert job.moved - before <= PARTS + 2, "at most what was on its way when it was stopped"
    assert job.is_done()
    assert job.leftovers == []


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    try:
        while os.write(pipe, bytes(65536)):
            pass
    except BlockingIOError:
        os.set_blocking(pipe, True)


def _records(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def _command(job: Job) -> list[str]:
    from tests.support.program import command

    return command(*job.command)


def _environment(job: Job) -> dict[str, str]:
    from tests.support.program import environment

    return environment(**job.scripted.program.settings)
