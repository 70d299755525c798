"""``connector archive`` as people and scripts call it."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import attrs
import httpx
import pytest
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.jobs import find_job, new_job
from connector.cli.interruption import SIGNALS
from tests.support.archive_process import run_cli, run_cli_json, served_archive
from tests.support.contract_client import ContractClient, new_private_key, public_of
from tests.support.served_archive import SET_UPS, MakeArchive, ServedArchive


def write_public_key(path: Path, private_key: bytes) -> Path:
    text = base64.b64encode(public_of(private_key)).decode()
    path.write_text(f"-----BEGIN CRYPT4GH PUBLIC KEY-----\n{text}\n-----END CRYPT4GH PUBLIC KEY-----\n")
    return path


@pytest.fixture
def private_key() -> bytes:
    return new_private_key()


@pytest.fixture
def key_file(tmp_path: Path, private_key: bytes) -> str:
    return str(write_public_key(tmp_path / "user.pub", private_key))


@pytest.fixture(scope="module", params=SET_UPS)
def empty(
    request: pytest.FixtureRequest, make_archive: MakeArchive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ...]]:
    """Where an archive is that has a box and nothing in it."""
    folder = tmp_path_factory.mktemp("empty")
    key = write_public_key(folder / "user.pub", new_private_key())
    with ExitStack() as stack:
        where: tuple[str, ...] = ("--root", str(folder / "archive"))
        if request.param == "cluster":
            where = tuple(map(str, stack.enter_context(make_archive(request.param)).location))
        made = run_cli("archive", "grant", "upload", *where, "--public-key", str(key))
        assert made.returncode == 0
        yield where


@pytest.mark.parametrize("number", SIGNALS)
def test_the_server_stops_cleanly_on_a_signal(root: Path, number: signal.Signals) -> None:
    with served_archive(root) as served:
        with httpx.Client() as http:  # a connection that is kept alive must not hold it up
            assert http.get(f"{served.wkvs_url}/values").status_code == 200
            served.process.send_signal(number)
            assert served.process.wait(timeout=30) == 0


def test_the_keys_are_for_the_owner_only(root: Path) -> None:
    with served_archive(root):
        assert {stat.S_IMODE(path.stat().st_mode) for path in (root / "keys").iterdir()} == {0o600}


@pytest.mark.parametrize("set_up", SET_UPS)
def test_grants_and_listings_beside_a_running_server(
    set_up: str, make_archive: MakeArchive, key_file: str, private_key: bytes, http: httpx.Client
) -> None:
    with make_archive(set_up) as served:
        where = tuple(map(str, served.location))
        granted = run_cli(
            "archive", "grant", "upload", *where, "--public-key", key_file, "--title", "T", "--max-size", "1KiB"
        )
        assert granted.returncode == 0, granted.stderr
        token = granted.stdout.splitlines()[-1]
        user = ContractClient(served.wkvs_url, token, private_key, http)
        file_id = user.upload("sample.fastq.gz", user.seal(b"reads"))
        served.wait_for_file(file_id)
        (box,) = run_cli_json("archive", "boxes", *where, "--json")
        assert (box["title"], box["max_size"], box["size"], box["state"]) == ("T", 1024, 5, "open")
        assert box["uploads"] == {"archived": 1}
        (file,) = run_cli_json("archive", "files", *where, "--json")
        assert (file["alias"], file["state"], file["decrypted_size"]) == ("sample.fastq.gz", "archived", 5)
        assert file["box"] == box["box"]
        shown = run_cli("archive", "files", *where).stdout
        assert file["accession"] in shown
        assert "sample.fastq.gz" in shown
        for arguments in (["--all"], [file["accession"]]):
            granted = run_cli("archive", "grant", "download", *where, "--public-key", key_file, *arguments)
            reader = ContractClient(served.wkvs_url, granted.stdout.splitlines()[-1], private_key, http)
            assert reader.package().json()["files"] == {file["accession"]: ".fastq.gz"}
        assert run_cli("archive", "lock", *where, box["box"]).returncode == 0
        assert user.create("more", user.seal(b"x")).json()["exception_id"] == "boxStateError"
        assert run_cli("archive", "unlock", *where, box["box"]).returncode == 0
        assert user.create("more", user.seal(b"x")).status_code == 201
        assert len(run_cli_json("archive", "files", *where, "--uploads", "--json")) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["grant", "download", "--public-key", "{key}", "--all"], "no files yet"),
        (["grant", "download", "--public-key", "{key}"], "Which files"),
        (["grant", "download", "--public-key", "{key}", "--all", "GHGAF1"], "Which files"),
        (["grant", "upload", "--public-key", "{key}", "--max-size", "much"], "much"),
        (["grant", "upload", "--public-key", "{key}", "--box", "nope"], "no box"),
        (["lock", "nope"], "no box"),
        (["archive-box", "nope"], "no box"),
        (["rotate-key", "hub", "nope"], "no data hub"),
        (["grant", "upload", "--public-key", "{key}", "--expires", "9999-12-31"], "--expires"),
    ],
)
def test_refusals_are_sentences_with_exit_code_2(
    empty: tuple[str, ...], key_file: str, arguments: list[str], says: str
) -> None:
    done = run_cli("archive", *(argument.format(key=key_file) for argument in arguments), *empty)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["files"], ["boxes", "--json"], ["grant", "download", "--public-key", "{key}", "--all"]]
)
def test_an_archive_that_does_not_exist(tmp_path: Path, key_file: str, arguments: list[str]) -> None:
    missing = tmp_path / "missing"
    done = run_cli("archive", *(argument.format(key=key_file) for argument in arguments), "--root", str(missing))
    assert done.returncode == 2
    assert "no archive" in done.stderr
    assert not missing.exists()


@pytest.mark.parametrize("arguments", [["files"], ["check", "--repair"], ["rotate-key", "signing"], ["jobs", "retry"]])
def test_a_database_that_is_empty_becomes_none_of_an_archive(root: Path, arguments: list[str]) -> None:
    """As one whose name is misspelt."""
    root.mkdir()
    (root / "archive.sqlite").touch()
    done = run_cli("archive", *arguments, "--root", str(root))
    assert done.returncode == 2
    assert "no archive" in done.stderr
    assert not (root / "keys").exists()


def test_a_missing_key_file(root: Path, tmp_path: Path) -> None:
    done = run_cli("archive", "grant", "upload", "--root", str(root), "--public-key", str(tmp_path / "none.pub"))
    assert done.returncode == 3
    assert "none.pub" in done.stderr


def test_a_port_that_is_taken(root: Path, tmp_path: Path) -> None:
    with served_archive(root) as served:
        port = httpx.URL(served.wkvs_url).port
        done = run_cli("archive", "serve", "--root", str(tmp_path / "other"), "--port", str(port))
    assert done.returncode == 3
    assert str(port) in done.stderr


def test_two_servers_of_one_archive(root: Path, private_key: bytes, http: httpx.Client) -> None:
    with served_archive(root) as one, served_archive(root) as two:
        token = one.grant_upload(public_of(private_key))
        user, same = (ContractClient(served.wkvs_url, token, private_key, http) for served in (one, two))
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]
        assert same.create("a", file).json()["exception_id"] == "fileUploadAlreadyExists"
        same.put_parts(file_id, file.parts)
        assert user.close(file_id, file.claim()).status_code == 204
        two.wait_for_file(file_id)
        assert same.delete(file_id).status_code == 204
        assert [item["state"] for item in user.list_uploads().json()["items"]] == ["cancelled"]


def test_jobs_are_listed_and_tried_again(root: Path, key_file: str) -> None:
    made = run_cli("archive", "grant", "upload", "--root", str(root), "--public-key", key_file)
    assert made.returncode == 0

    async def plant() -> None:
        async with open_archive(embedded(root)) as archive:
            now = await archive.database.factory.now()
            later = now + timedelta(hours=1)
            for name, due in (("failed", now), ("later", later)):
                await archive.database.jobs.insert(new_job(name, "clean", hub="embedded", now=now, due=due))
            await archive.database.jobs.compare_and_set("failed", expected={}, changes={"due": None, "reason": "why"})

    trio.run(plant)
    assert [row["job"] for row in run_cli_json("archive", "jobs", "--root", str(root), "--json")] == ["failed"]
    everything = run_cli_json("archive", "jobs", "--root", str(root), "--all", "--json")
    assert [(row["job"], row["state"], row["reason"]) for row in everything] == [
        ("failed", "set aside", "why"),
        ("later", "waiting", None),
    ]
    refused = run_cli("archive", "jobs", "retry", "later", "--root", str(root))
    assert (refused.returncode, "later" in refused.stderr) == (2, True)
    retried = run_cli("archive", "jobs", "retry", "--root", str(root))
    assert (retried.returncode, "1 job" in retried.stderr) == (0, True)
    (row,) = run_cli_json("archive", "jobs", "--root", str(root), "--json")
    assert (row["job"], row["state"], row["attempts"]) == ("failed", "waiting", 0)


def test_a_job_that_was_set_aside_is_done_once_it_is_tried_again(archive: ServedArchive) -> None:
    subject = str(uuid4())
    where = [str(word) for word in archive.location]

    async def plant(opened: Archive) -> None:
        hub, now = opened.hubs.default, await opened.database.factory.now()
        await hub.storage.put_object(hub.buckets.inbox, subject, b"content")
        job = new_job(subject, "clean", hub=hub.alias, now=now, due=now)
        await opened.database.jobs.insert(attrs.evolve(job, due=None, attempts=12, reason="why"))

    async def is_done(opened: Archive) -> bool:
        hub = opened.hubs.default
        job = await find_job(opened.database, subject)
        return job is None and not await hub.storage.object_exists(hub.buckets.inbox, subject)

    archive.administer(plant)
    (row,) = [row for row in run_cli_json("archive", "jobs", *where, "--json") if row["job"] == subject]
    assert (row["state"], row["attempts"], row["reason"]) == ("set aside", 12, "why")
    checked = run_cli("archive", "check", *where, "--json")
    assert checked.returncode == 6
    found = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [row["fault"] for row in found if row["subject"] == subject] == ["job_set_aside"]
    assert run_cli("archive", "jobs", "retry", subject, *where).returncode == 0
    deadline = time.monotonic() + 60
    while not archive.administer(is_done):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_files_outlive_a_server_that_is_killed(
    root: Path, key_file: str, private_key: bytes, http: httpx.Client
) -> None:
    plaintext = os.urandom(30 * 1024**2)
    with served_archive(root) as served:
        token = served.grant_upload(public_of(private_key))
        user = ContractClient(served.wkvs_url, token, private_key, http)
        file_id = user.upload("big.bam", user.seal(plaintext, part_size=8 * 1024**2))
        served.process.kill()  # most likely in the middle of the interrogation
        served.process.wait()
    with served_archive(root) as served:
        row = served.wait_for_file(file_id)
        assert row["decrypted_size"] == len(plaintext)
        # The same token, and the same keys.
        again = ContractClient(served.wkvs_url, token, private_key, http)
        assert [item["state"] for item in again.list_uploads().json()["items"]] == ["archived"]
