"""What is refused: one sentence, the documented exit code, and nothing half-made under a final name."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from connector.archive import admin
from connector.local.key_files import write_key_pair
from tests.support.command_line import CommandLine
from tests.support.contract_client import seal
from tests.support.served_archive import SET_UPS, MakeArchive, ServedArchive

SENTENCE = re.compile(r"(Error: )?[^\n]+[.!?]( [^\n]+)?")
PLAINTEXT = random.Random(3).randbytes(200_000)


@attrs.frozen
class Stand:
    """An archive with one registered file, and a user with a token for it and one for a box."""

    archive: ServedArchive
    user: CommandLine
    accession: str
    reading: str
    writing: str

    @property
    def name(self) -> str:
        return f"{self.accession}.bin"

    @property
    def aliases(self) -> list[str]:
        """Of all uploads that the archive has heard of."""
        uploads = self.archive.administer(lambda archive: admin.list_files(archive, uploads=True))
        return [upload["alias"] for upload in uploads]


@pytest.fixture(scope="module", params=SET_UPS)
def stand(
    request: pytest.FixtureRequest, make_archive: MakeArchive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    with make_archive(request.param) as archive:
        user = CommandLine.of(archive, tmp_path_factory.mktemp("user"))
        writing = archive.grant_upload(user.keys.public)
        (user.folder / "data.bin").write_bytes(PLAINTEXT)
        assert user.run("upload", "data.bin", token=writing).returncode == 0
        (upload,) = archive.administer(lambda archive: admin.list_files(archive, uploads=True))
        accession = archive.wait_for_file(upload["file_id"])["accession"]
        yield Stand(archive, user, accession, archive.grant_download(user.keys.public), writing)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def refused(stand: Stand, code: int, words: str, *arguments: str | Path, **options: str) -> str:
    """Run a command that has to fail: with this code, one sentence of these words, and nothing on standard output."""
    done = stand.user.run(*arguments, **options)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = [line for line in done.stderr.splitlines() if re.search(words, line)]
    assert len(lines) == 1, done.stderr
    assert SENTENCE.fullmatch(lines[0].strip()), lines[0]
    return done.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Keys and tokens


def test_a_key_that_the_token_was_not_made_for(stand: Stand, out: Path, tmp_path: Path) -> None:
    write_key_pair(tmp_path / "other.sec", tmp_path / "other.pub", passphrase=None)
    other = {"CONNECTOR_MY_PRIVATE_KEY_PATH": str(tmp_path / "other.sec")}
    words = "private key"
    refused(stand, 4, words, "download", "--output-dir", out, token=stand.reading, **other)
    refused(stand, 4, words, "upload", "data.bin", token=stand.writing, **other)
    assert names(out) == []


def test_two_keys_that_are_no_pair(stand: Stand, out: Path, tmp_path: Path) -> None:
    write_key_pair(tmp_path / "other.sec", tmp_path / "other.pub", passphrase=None)
    other = {"CONNECTOR_MY_PUBLIC_KEY_PATH": str(tmp_path / "other.pub")}
    refused(stand, 2, "pair|belong", "download", "--output-dir", out, token=stand.reading, **other)


def test_something_that_is_no_token(stand: Stand, out: Path) -> None:
    done = stand.user.run("download", "--output-dir", out, CONNECTOR_ACCESS_TOKEN="package-1:%%%")
    assert done.returncode == 2
    assert "PACKAGE_ID:ENCRYPTED" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_token_at_all(stand: Stand, out: Path) -> None:
    refused(stand, 2, "access token", "download", "--output-dir", out)


def test_the_token_of_another_package(stand: Stand, out: Path) -> None:
    package, _, _ = stand.writing.partition(":")
    mixed = f"{package}:{stand.reading.partition(':')[2]}"
    refused(stand, 4, "access token", "download", "--output-dir", out, token=mixed)


def test_a_token_for_the_other_direction(stand: Stand, out: Path) -> None:
    refused(stand, 4, "is for uploads", "download", "--output-dir", out, token=stand.writing)
    refused(stand, 4, "is for downloads", "upload", "data.bin", token=stand.reading)
    refused(stand, 4, "is for downloads", "status", "--in-box", token=stand.reading)


# Downloads


def test_an_accession_that_is_not_in_the_package(stand: Stand, out: Path) -> None:
    refused(stand, 4, "GHGAF404", "download", "--output-dir", out, "GHGAF404", token=stand.reading)
    assert names(out) == []
    arguments = ("download", "--output-dir", out, stand.accession, "GHGAF404")
    refused(stand, 4, "GHGAF404", *arguments, token=stand.reading)
    assert names(out) == [f"{stand.accession}.bin.c4gh"], "the other one is fetched"


@pytest.mark.parametrize("options", [(), ("--decrypt",)])
def test_an_existing_file_is_neither_replaced_nor_fetched(stand: Stand, out: Path, options: tuple[str, ...]) -> None:
    out.mkdir()
    path = out / (stand.name if options else f"{stand.name}.c4gh")
    path.write_bytes(b"precious")
    before = path.stat()
    refused(stand, 3, "exists already", "download", "--output-dir", out, *options, token=stand.reading)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(out) == [path.name]
    done = stand.user.run("download", "--output-dir", out, *options, "--overwrite", token=stand.reading)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() != b"precious"
    assert names(out) == [path.name]


def test_a_file_in_the_place_of_the_folder(stand: Stand, out: Path) -> None:
    out.write_bytes(b"precious")
    done = stand.user.run("download", "--output-dir", out, token=stand.reading)
    assert done.returncode in (2, 3)
    assert out.read_bytes() == b"precious"


# Uploads


def test_an_alias_that_is_in_the_box_already(stand: Stand) -> None:
    """By a file of another size: the same one again is no error."""
    (stand.user.folder / "other.bin").write_bytes(PLAINTEXT[1:])
    words = "already|fileUploadAlreadyExists"
    said = refused(stand, 4, words, "upload", "other.bin", "--alias", "data.bin", token=stand.writing)
    assert "--alias" in said


def test_a_box_that_is_locked(stand: Stand) -> None:
    token = stand.archive.grant_upload(stand.user.keys.public, title="locked")
    boxes = stand.archive.administer(admin.list_boxes)
    (box,) = (box["box"] for box in boxes if box["title"] == "locked")
    assert stand.user.run("archive", "lock", *stand.archive.location, box).returncode == 0
    refused(stand, 4, "locked", "upload", "data.bin", token=token)


def test_a_box_that_is_full(stand: Stand) -> None:
    token = stand.archive.grant_upload(stand.user.keys.public, max_size=1000)
    refused(stand, 4, "data.bin", "upload", "data.bin", token=token)


def test_sources_that_cannot_be_sent(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "sealed").write_bytes(seal(b"x", sender=b"s" * 32, recipient=stand.user.keys.public).content)
    os.mkfifo(tmp_path / "pipe")
    token = stand.archive.grant_upload(stand.user.keys.public)
    for name, code, words in (
        ("empty", 2, "is empty"),
        ("sealed", 2, "Crypt4GH already"),
        ("pipe", 2, "regular file"),
        ("missing", 3, "No such file"),
    ):
        refused(stand, code, words, "upload", tmp_path / name, token=token)
    assert not {"empty", "sealed", "pipe", "missing"} & set(stand.aliases), "the archive heard of none of them"


def test_one_bad_file_among_good_ones_is_never_a_success(stand: Stand, tmp_path: Path) -> None:
    token = stand.archive.grant_upload(stand.user.keys.public)
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "bad").touch()
    done = stand.user.run("upload", tmp_path / "bad", tmp_path / "good", token=token)
    assert done.returncode == 2
    assert "bad is empty" in done.stderr
    assert "good" in stand.aliases


# The archive


def test_an_archive_that_is_not_there(stand: Stand, out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nowhere = f"http://127.0.0.1:{port}/.well-known"
    arguments = ("download", "--output-dir", out, "--wkvs-url", nowhere, "--retries", "0")
    refused(stand, 5, "cannot be reached", *arguments, token=stand.reading)
    assert names(out) == []


def test_something_else_at_that_address(stand: Stand, out: Path) -> None:
    wrong = stand.archive.wkvs_url.removesuffix("/.well-known") + "/wps"
    done = stand.user.run("download", "--output-dir", out, "--wkvs-url", wrong, "--retries", "0", token=stand.reading)
    assert done.returncode in (4, 5)
    assert len(done.stderr.splitlines()) == 1
    assert names(out) == []


# Local files


def test_decrypting_what_was_made_for_somebody_else(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "x.c4gh").write_bytes(seal(b"x", sender=b"s" * 32, recipient=b"\x09" + bytes(31)).content)
    refused(stand, 6, "different key", "decrypt", tmp_path / "x.c4gh")
    assert names(tmp_path) == ["x.c4gh"]


def test_decrypting_what_is_damaged(stand: Stand, tmp_path: Path) -> None:
    content = bytearray(seal(PLAINTEXT, sender=b"s" * 32, recipient=stand.user.keys.public).content)
    content[-1] ^= 1
    (tmp_path / "x.c4gh").write_bytes(content)
    refused(stand, 6, r"Segment 3 \(bytes \d+ to \d+", "decrypt", tmp_path / "x.c4gh")
    assert names(tmp_path) == ["x.c4gh"]


def test_decrypting_what_is_not_encrypted(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "x.c4gh").write_bytes(b"plain text")
    refused(stand, 6, "Crypt4GH", "decrypt", tmp_path / "x.c4gh")
    assert names(tmp_path) == ["x.c4gh"]


def test_results_that_are_there_already(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "x.c4gh").write_bytes(seal(b"x", sender=b"s" * 32, recipient=stand.user.keys.public).content)
    (tmp_path / "x").write_bytes(b"precious")
    key = stand.user.folder / "my.pub"
    refused(stand, 3, "x exists already", "decrypt", tmp_path / "x.c4gh")
    refused(stand, 3, "x.c4gh exists already", "encrypt", tmp_path / "x", "--recipient-public-key-path", key)
    refused(stand, 3, "exists already", "keygen", "--nocrypt", "--sk", key, "--pk", tmp_path / "new.pub")
    assert (tmp_path / "x").read_bytes() == b"precious"
    assert names(tmp_path) == ["x", "x.c4gh"]
