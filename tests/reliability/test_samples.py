"""What the version before the restructuring left behind is resumed: journals, partial files, notes and lock files.

Each test counts what is moved again, so that a sample that is no longer understood fails it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import read_private_key
from tests.reliability.earlier_version import SAMPLES, SampleArchive, Samples, content
from tests.support.contract_client import SEALED_SEGMENT, SEGMENT, unseal
from tests.support.fake_archive import ENVELOPE, Upload
from tests.support.program import Done, Program
from tests.support.served_fake import ServedFake, serving


@attrs.frozen
class Resumed:
    """The samples in a folder, the archive that they are about, and today's program."""

    archive: SampleArchive
    samples: Samples
    program: Program

    @property
    def folder(self) -> Path:
        return self.samples.folder

    def left_upload(self, alias: str, *, state: str = "init") -> Upload:
        """Have the archive hold the upload as the earlier run left it there."""
        facts = self.samples.facts["uploads"][alias]
        upload = Upload(UUID(facts["id"]), facts["announced"], state)
        self.archive.uploads[upload.id] = upload
        return upload

    def upload(self, alias: str) -> Done:
        self.archive.package_type = "upload"
        done = self.program.run("upload", alias, "--json")
        assert done.code == 0, done.err
        return done

    def download(self, *arguments: object, code: int = 0) -> Done:
        environment = {"CONNECTOR_PART_SIZE": str(SEALED_SEGMENT)}
        done = self.program.run("download", *arguments, "--json", environment=environment)
        assert done.code == code, done.err
        return done

    def left(self, what: str) -> int:
        """How many journals of ``uploads`` the state folder holds."""
        return len(list((self.folder / "state/connector" / what).glob("*.upload")))

    def plaintext(self, folder: str, name: str) -> bytes:
        """The content of a finished file, decrypted if need be."""
        data = (self.folder / folder / name).read_bytes()
        return unseal(data[:ENVELOPE], data[ENVELOPE:], self.archive.user.private) if name.endswith(".c4gh") else data

    def make_locks_stale(self) -> None:
        """As if their process had not refreshed them for ten minutes."""
        for path in self.folder.rglob("*.lock"):
            os.utime(path, (time.time() - 600,) * 2)


@pytest.fixture
def resumed(tmp_path: Path, here: bool) -> Iterator[Resumed]:
    folder = tmp_path.resolve()
    for name in ("my.sec", "my.pub"):
        shutil.copyfile(SAMPLES / name, folder / name)
        (folder / name).chmod(0o600)
    archive = SampleArchive(KeyPair.of(read_private_key(folder / "my.sec", str)))
    with serving(ServedFake(archive)) as server:
        samples = Samples.put(folder, f"{server.url}/wkvs", here=here)
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": samples.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "my.sec"),
            "CONNECTOR_ACCESS_TOKEN": archive.access_token,
            "CONNECTOR_PART_SIZE": "5MiB",
        }
        yield Resumed(archive, samples, Program(folder, settings))


@pytest.fixture
def here() -> bool:
    """Whether the samples were left by this boot of this machine."""
    return True


def test_an_upload_of_several_parts_sends_the_missing_one(resumed: Resumed) -> None:
    upload, facts = resumed.left_upload("many.bin"), resumed.samples.facts
    resumed.archive.digests = {number: facts["parts"][number] for number in ("1", "3")}
    resumed.upload("many.bin")
    assert (resumed.archive.stored_parts, upload.state) == ([2], "inbox")
    # It fits between the two that were sent before: its last segment ends in the third.
    sealed = upload.parts[2] + bytes.fromhex(facts["third_part_begins"])
    plaintext = unseal(bytes.fromhex(facts["header"]), sealed[ENVELOPE:], resumed.archive.hub.private)
    assert plaintext == content("many.bin")[80 * SEGMENT : 160 * SEGMENT]
    assert resumed.left("uploads") == 2  # the others'


def test_an_upload_whose_creation_was_not_answered_replaces_what_the_archive_made_of_it(resumed: Resumed) -> None:
    made = Upload(UUID(int=9), {"alias": "announced.bin", "decrypted_size": 4_000})
    resumed.archive.uploads[made.id] = made
    resumed.upload("announced.bin")
    assert (made.state, resumed.archive.counts["delete"]) == ("cancelled", 1)
    assert resumed.archive.opened("announced.bin") == content("announced.bin")
    assert resumed.left("uploads") == 2


def test_a_small_upload_whose_close_was_not_answered_is_closed_again(resumed: Resumed) -> None:
    upload = resumed.left_upload("small.bin", state="inbox")
    upload.parts[1] = bytes.fromhex(resumed.samples.facts["small_part"])
    resumed.upload("small.bin")
    counts = resumed.archive.counts
    assert (counts["create"], counts["put"], counts["delete"]) == (0, 0, 0)
    assert counts["complete"] == 1
    assert resumed.archive.opened("small.bin") == content("small.bin")
    assert resumed.left("uploads") == 2


def test_what_was_uploaded_is_known(resumed: Resumed) -> None:
    resumed.left_upload("done.bin", state="inbox")
    (record,) = map(json.loads, resumed.upload("done.bin").out.splitlines())
    assert record["already_there"] == "record"
    assert resumed.archive.counts["create"] == 0


DOWNLOADS = [("encrypted", "GHGAF1.bin.c4gh", ()), ("decrypted", "GHGAF1.bin", ("--decrypt",))]


@pytest.mark.parametrize(("folder", "name", "options"), DOWNLOADS, ids=["encrypted", "decrypted"])
def test_a_download_fetches_the_missing_part(
    resumed: Resumed, folder: str, name: str, options: tuple[str, ...]
) -> None:
    resumed.download("GHGAF1", "--output-dir", resumed.folder / folder, *options)
    assert resumed.archive.ranges == [(SEALED_SEGMENT, 2 * SEALED_SEGMENT)]
    assert [path.name for path in (resumed.folder / folder).iterdir()] == [name]
    assert resumed.plaintext(folder, name) == content("GHGAF1")


@pytest.mark.parametrize("here", [False])
@pytest.mark.parametrize(
    ("folder", "name", "options", "missing"),
    [(*DOWNLOADS[0], [2, 3]), (*DOWNLOADS[1], [1, 2, 3])],
    ids=["encrypted", "decrypted"],
)
def test_of_another_machine_only_what_is_known_to_be_on_the_disk_is_kept(
    resumed: Resumed, folder: str, name: str, options: tuple[str, ...], missing: list[int]
) -> None:
    resumed.make_locks_stale()
    resumed.download("GHGAF1", "--output-dir", resumed.folder / folder, *options)
    assert sorted(start // SEALED_SEGMENT + 1 for start, _ in resumed.archive.ranges) == missing
    assert resumed.plaintext(folder, name) == content("GHGAF1")


@pytest.mark.parametrize("here", [False])
def test_the_lock_of_another_machine_is_respected_until_it_is_stale(resumed: Resumed) -> None:
    resumed.download("GHGAF1", "--output-dir", "encrypted", "--until", "+4s", code=75)
    assert resumed.archive.ranges == []


def test_the_lock_of_another_container_is_respected(resumed: Resumed) -> None:
    """Of the same host name and boot: its process cannot be seen from here."""
    lock = resumed.folder / "encrypted/GHGAF1.bin.c4gh.part.lock"
    lock.write_text(lock.read_text().replace("pid:[", "pid:[9"))
    resumed.download("GHGAF1", "--output-dir", "encrypted", "--until", "+4s", code=75)
    assert resumed.archive.ranges == []


def test_what_was_downloaded_is_known(resumed: Resumed) -> None:
    done = resumed.download("GHGAF9", "--output-dir", resumed.folder / "done", "--decrypt")
    assert json.loads(done.out)["already_there"] == "record"
    assert resumed.archive.counts["object"] == 0


def test_what_was_decrypted_is_known(resumed: Resumed) -> None:
    done = resumed.program.run("decrypt", "plain.bin.c4gh", "--output-dir", "opened", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["already_there"] == "record"


def test_what_is_unfinished_is_listed(resumed: Resumed) -> None:
    """The folders of the downloads are known from their notes."""
    done = resumed.program.run("status", "--json")
    rows = sorted((row["kind"], row["name"], row["done"]) for row in map(json.loads, done.out.splitlines()))
    downloads = [("download", "GHGAF1", 2 * SEALED_SEGMENT)] * 2
    assert rows == [*downloads, ("upload", "many.bin", 2 * 80 * SEALED_SEGMENT), ("upload", "small.bin", 0)]
