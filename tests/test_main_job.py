"""The main job as people do it: an archive in one terminal, a submitter and a researcher in two others."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tests.support.served_archive import SET_UPS, MakeArchive, ServedArchive

PART = 80 * 65_536 - 124
"""Plaintext bytes of an upload of exactly one part of 5 MiB, rounded to segments, with its envelope."""


@pytest.fixture(scope="module", params=["embedded", "cluster"])
def archive(request: pytest.FixtureRequest, make_archive: MakeArchive) -> Iterator[ServedArchive]:
    with make_archive(request.param, staging_delay=0.2) as archive:
        yield archive


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noise(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def test_the_main_job(archive: ServedArchive, tmp_path: Path) -> None:
    submitter = CommandLine.of(archive, tmp_path / "submitter")
    researcher = CommandLine.of(archive, tmp_path / "researcher")
    root = archive.location

    # The submitter: two files by a list, three by name, an empty one that is refused.
    token = submitter.last_line("archive", "grant", "upload", *root, "--public-key", "my.pub", "--title", "Study 1")
    binary = submitter.folder / "python"
    binary.write_bytes(Path(sys.executable).resolve().read_bytes()[: 3 * PART])
    sources = {
        "interpreter": binary,
        "one byte": noise(submitter.folder / "1.bin", 1),
        "segment.bin": noise(submitter.folder / "segment.bin", 65_536),
        "part.bin": noise(submitter.folder / "part.bin", PART),
        "more.fastq.gz": noise(submitter.folder / "more.fastq.gz", PART + 1),
    }
    (submitter.folder / "list.tsv").write_text("# what\tas what\npython\tinterpreter\n1.bin\tone byte\n\n")
    done = submitter.run("upload", "--tsv", "list.tsv", token=token)
    assert done.returncode == 0, done.stderr
    assert "interpreter" in done.stderr
    done = submitter.run("upload", "segment.bin", "part.bin", "more.fastq.gz", given=f"{token}\n")
    assert done.returncode == 0, done.stderr
    (submitter.folder / "empty").touch()
    done = submitter.run("upload", "empty", token=token)
    assert done.returncode == 2
    assert "empty is empty" in done.stderr.splitlines()[0]

    # The steward: all of them registered, under names of the archive's own.
    accessions = registered(submitter, archive, len(sources))
    assert set(accessions) == set(sources)
    (box,) = json.loads(submitter.run("archive", "boxes", *root, "--json").stdout)
    assert (box["title"], box["size"]) == ("Study 1", sum(path.stat().st_size for path in sources.values()))

    # The researcher: without and with --decrypt, and decrypted afterwards.
    grant = researcher.last_line("archive", "grant", "download", *root, "--public-key", "my.pub", "--all")
    (researcher.folder / "token").write_text(grant + "\n")
    fetch = ("download", "--token-file", "token", "--output-dir")
    for folder, *options in (("sealed",), ("opened", "--decrypt")):
        done = researcher.run(*fetch, folder, *options)
        assert done.returncode == 0, done.stderr
    done = researcher.run("decrypt", "--input-dir", "sealed", "--output-dir", "decrypted")
    assert done.returncode == 0, done.stderr
    extensions = {"more.fastq.gz": ".fastq.gz", "segment.bin": ".bin", "part.bin": ".bin"}
    for alias, source in sources.items():
        name = accessions[alias] + extensions.get(alias, "")
        assert (researcher.folder / "sealed" / f"{name}.c4gh").read_bytes()[:8] == b"crypt4gh"
        for folder in ("opened", "decrypted"):
            assert sha256(researcher.folder / folder / name) == sha256(source), (folder, alias)
    for folder in ("sealed", "opened", "decrypted"):
        assert len(list((researcher.folder / folder).iterdir())) == len(sources), "nothing else is left there"
    assert not list((submitter.folder / "state").rglob("*.upload*"))

    # One file alone, granted and fetched by name, and told as JSON.
    one = accessions["one byte"]
    grant = researcher.last_line("archive", "grant", "download", *root, "--public-key", "my.pub", one)
    done = researcher.run("download", "--output-dir", "one", "--decrypt", "--json", one, token=grant)
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["ok"] is True
    assert record["sha256"] == sha256(sources["one byte"])
    assert [path.name for path in (researcher.folder / "one").iterdir()] == [one]


def registered(user: CommandLine, archive: ServedArchive, count: int) -> dict[str, str]:
    """Accessions by alias, once so many files are registered."""
    deadline = time.monotonic() + 180
    while True:
        files = json.loads(user.run("archive", "files", *archive.location, "--json").stdout)
        if len(files) == count:
            return {file["alias"]: file["accession"] for file in files}
        assert time.monotonic() < deadline, files
        time.sleep(0.2)


@pytest.mark.parametrize("set_up", SET_UPS)
def test_jobs_that_upload_into_one_box_at_once_wait_for_each_other(
    set_up: str, make_archive: MakeArchive, tmp_path: Path
) -> None:
    with make_archive(set_up, open_uploads=1) as archive:
        user = CommandLine.of(archive, tmp_path / "user")
        token = user.last_line("archive", "grant", "upload", *archive.location, "--public-key", "my.pub")
        jobs = [[noise(user.folder / f"{job}-{number}", 1000 + number) for number in range(6)] for job in range(3)]
        with ThreadPoolExecutor(len(jobs)) as threads:
            ended = list(threads.map(lambda paths: user.run("upload", *paths, token=token), jobs))
        assert [done.returncode for done in ended] == [0, 0, 0], [done.stderr for done in ended]
        registered(user, archive, 18)


def test_keys_with_a_passphrase_all_the_way(archive: ServedArchive, tmp_path: Path) -> None:
    user = CommandLine.of(archive, tmp_path)
    secret = {"CONNECTOR_PASSPHRASE": "correct horse"}
    done = user.run("keygen", "--sk", "new.sec", "--pk", "new.pub", **secret)
    assert done.returncode == 0, done.stderr
    assert "correct horse" not in done.stdout + done.stderr
    keys = {"CONNECTOR_MY_PRIVATE_KEY_PATH": "new.sec", "CONNECTOR_MY_PUBLIC_KEY_PATH": "new.pub"}
    root = archive.location
    token = user.last_line("archive", "grant", "upload", *root, "--public-key", "new.pub")
    noise(tmp_path / "x", 100)
    assert user.run("upload", "x", token=token, **keys, **secret).returncode == 0
    assert user.run("upload", "x", "--alias", "y", token=token, **keys).returncode == 2, "nobody gave the passphrase"
    wrong = user.run("upload", "x", "--alias", "y", token=token, **keys, CONNECTOR_PASSPHRASE="battery staple")
    assert wrong.returncode == 2
    assert "passphrase for new.sec" in wrong.stderr
