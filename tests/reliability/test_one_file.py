"""One file never takes the others: what nobody expected fails the file where it happened (docs/reliability.md).

No archive and no disk can provoke a bug on purpose, so it is planted in the standard library, which any version of the
program calls: ``sitecustomize`` makes a function of ``os`` raise for the file whose name holds "wrong". (Not "bad": the
name of a journal is of hexadecimal digits, and may hold that by chance.)
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import connector
from connector.clients.work_packages import AccessToken
from tests.reliability.conftest import Scripted
from tests.support.program import Done

PLANTED = """
    import os

    function, exception = os.environ["PLANTED"].split(":")
    opened, really, really_open = set(), getattr(os, function), os.open

    def is_bad(path):
        return isinstance(path, (str, bytes, os.PathLike)) and b"wrong" in os.path.basename(os.fsencode(path))

    def noting_open(path, *rest, **named):
        descriptor = really_open(path, *rest, **named)
        (opened.add if is_bad(path) else opened.discard)(descriptor)
        return descriptor

    def raising(what, *rest, **named):
        if is_bad(what) or (isinstance(what, int) and what in opened):
            if function == "close":
                really(what)
                opened.discard(what)
            raise {"bug": RuntimeError("a planted bug"), "memory": MemoryError()}[exception]
        return (noting_open if function == "open" else really)(what, *rest, **named)

    os.open = noting_open
    setattr(os, function, raising)
"""


@pytest.fixture
def planted(scripted: Scripted, tmp_path: Path) -> Callable[..., Done]:
    """Runs a command in which a function of ``os`` raises for the file "wrong"."""
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(PLANTED))

    def run(function: str, *arguments: object, exception: str = "bug") -> Done:
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        if os.environ.get("CONNECTOR"):  # another version is not to load this checkout
            path = str(folder)
        environment = {"PYTHONPATH": path, "PLANTED": f"{function}:{exception}"}
        return scripted.program.run(*arguments, environment=environment)

    return run


def download(scripted: Scripted) -> tuple[object, ...]:
    scripted.archive.package_type = "download"
    for name in ("GHGAF1", "wrong2", "GHGAF3"):
        scripted.archive.add_file(name, os.urandom(300_000))
    return ("download", "--output-dir", scripted.folder / "out", "--json")


def upload(scripted: Scripted) -> tuple[object, ...]:
    scripted.archive.package_type = "upload"
    for name in ("a.bin", "wrong.bin", "c.bin"):
        (scripted.folder / name).write_bytes(os.urandom(6_000_000))
    return ("upload", "a.bin", "wrong.bin", "c.bin", "--json")


def encrypt(scripted: Scripted) -> tuple[object, ...]:
    for name in ("a.bin", "wrong.bin", "c.bin"):
        (scripted.folder / name).write_bytes(os.urandom(100_000))
    names = ("a.bin", "wrong.bin", "c.bin")
    return (
        "encrypt",
        *names,
        "--recipient-public-key-path",
        "my.pub",
        "--output-dir",
        scripted.folder / "out",
        "--json",
    )


JOBS = [
    (download, "open"),  # in the step open
    (download, "pwritev"),  # move
    (download, "replace"),  # finish
    (download, "close"),  # close
    (upload, "open"),  # prepare
    (upload, "preadv"),  # move
    (encrypt, "preadv"),
    (encrypt, "pwritev"),
]


@pytest.mark.parametrize(("job", "function"), JOBS, ids=lambda value: getattr(value, "__name__", value))
def test_a_bug_in_one_file_is_its_outcome_and_the_others_are_done(
    scripted: Scripted,
    planted: Callable[..., Done],
    job: Callable[[Scripted], tuple[object, ...]],
    function: str,
) -> None:
    arguments = job(scripted)
    done = planted(function, *arguments)
    assert done.code == 1, done.err
    records = {record["name"]: record for record in map(json.loads, done.out.splitlines())}
    assert sorted(record["ok"] for record in records.values()) == [False, True, True], done.err
    (bad,) = [record for record in records.values() if not record["ok"]]
    assert bad["name"].startswith("wrong")
    assert (bad["error"]["family"], bad["error"]["exit_code"]) == ("error", 1)
    assert "--debug" in bad["error"]["hint"]
    assert "Traceback" not in done.err
    assert "2 of 3 files" in done.err
    again = scripted.program.run(*arguments, "--overwrite")
    assert again.code == 0, again.err  # nothing was lost


@pytest.mark.parametrize("job", [download, upload], ids=lambda job: job.__name__)
def test_debug_shows_the_traceback_of_that_file(
    scripted: Scripted, planted: Callable[..., Done], job: Callable[[Scripted], tuple[object, ...]]
) -> None:
    done = planted("open", *job(scripted), "--debug")
    assert done.code == 1
    assert "RuntimeError: a planted bug" in done.err
    assert done.err.index("Traceback") < done.err.index("2 of 3 files")


def test_a_file_for_which_there_is_no_memory_fails_alone(scripted: Scripted, planted: Callable[..., Done]) -> None:
    done = planted("pwritev", *download(scripted), exception="memory")
    assert done.code == 3
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["name"] for record in records if not record["ok"]] == ["wrong2"]
    assert "memory" in done.err


# As a library -------------------------------------------------------------------------------------------------------


class Raising(connector.SilentObserver):
    """Raises when bytes of one file go through."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.ended: list[str] = []

    def progressed(self, label: str, size: int) -> None:
        if label == self.label:
            raise ZeroDivisionError("a bug of the user's")

    def finished(self, outcome: connector.Outcome[Any]) -> None:
        self.ended.append(outcome.label)


def settings_of(scripted: Scripted) -> connector.Settings:
    return connector.Settings(wkvs_url=f"{scripted.server.url}/wkvs", part_size=131_128, retries=3)


def test_an_observer_that_raises_costs_no_file_its_bytes(scripted: Scripted) -> None:
    out = scripted.folder / "out"
    out.mkdir()
    download(scripted)
    observer = Raising("wrong2")

    async def main() -> list[connector.Outcome[connector.DownloadedFile]]:
        token = AccessToken.parse(scripted.archive.access_token)
        settings, state = settings_of(scripted), scripted.folder / "state"
        async with connector.open_session(
            settings, scripted.keys, token, observer=observer, state_folder=state
        ) as session:
            return await session.download(output_dir=out)

    outcomes = trio.run(main)
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    error = outcomes[1].error
    assert error is not None
    assert error.exit_code == 1
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert sorted(observer.ended) == ["GHGAF1", "GHGAF3", "wrong2"]
    assert sorted(os.listdir(out)) == ["GHGAF1.bin.c4gh", "GHGAF3.bin.c4gh", "wrong2.bin.c4gh"]


@pytest.mark.parametrize("package", ["download", "upload"])
def test_a_session_that_has_ended_says_so(scripted: Scripted, package: str) -> None:
    download(scripted)
    scripted.archive.package_type = package

    async def main() -> None:
        token = AccessToken.parse(scripted.archive.access_token)
        async with connector.open_session(settings_of(scripted), scripted.keys, token) as session:
            pass
        source = connector.UploadSource(scripted.folder / "my.pub", "x")
        uses: dict[str, list[Callable[[], Awaitable[object]]]] = {
            "download": [lambda: session.download(output_dir=scripted.folder)],
            "upload": [lambda: session.upload([source]), session.open_in_box],
        }
        for use in uses[package]:
            with trio.fail_after(180), pytest.raises(connector.UsageError, match="session has ended"):
                await use()

    trio.run(main)


def test_leaving_a_session_ends_what_it_transfers(scripted: Scripted) -> None:
    out = scripted.folder / "out"
    out.mkdir()
    download(scripted)
    scripted.archive.latency["get"] = 300
    ended: list[connector.ConnectorError] = []

    async def main() -> None:
        token = AccessToken.parse(scripted.archive.access_token)
        with trio.fail_after(180):
            async with trio.open_nursery() as nursery:
                async with connector.open_session(settings_of(scripted), scripted.keys, token) as session:

                    async def fetch() -> None:
                        try:
                            await session.download(output_dir=out)
                        except connector.ConnectorError as error:
                            ended.append(error)

                    nursery.start_soon(fetch)
                    while not scripted.archive.counts["get"]:
                        await trio.sleep(0.02)

    trio.run(main)
    assert [type(error) for error in ended] == [connector.UsageError]
    assert "session has ended" in ended[0].message
