"""Another program that was written for GHGA's archive works against this one, unchanged.

``GHGA_CONNECTOR`` names it: ghga-connector 4.0.1 from PyPI, in an environment of its own, since it needs other versions
of what ours needs. ``nox -s tests`` installs it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from connector.archive import admin
from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support.archive_checker import check
from tests.support.archive_process import ArchiveProcess
from tests.support.chaos_stage import MIB
from tests.support.dialog import converse
from tests.support.served_archive import SET_UPS, MakeArchive, ServedArchive

PROGRAM = os.environ.get("GHGA_CONNECTOR")

pytestmark = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ, reason="GHGA_CONNECTOR names no ghga-connector"
)

PROMPT = r"ubox> ?$"
ASKS_FOR_TOKEN = "access token"


@attrs.frozen
class User:
    """Somebody with a key pair and some files in ``folder``, who uses that program."""

    folder: Path
    archive: ServedArchive
    keys: KeyPair

    def run(self, *arguments: str, answers: tuple[tuple[str, str], ...] = ()) -> str:
        """What the program shows; it must end well."""
        assert PROGRAM is not None, "GHGA_CONNECTOR names no ghga-connector"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "GHGA_CONNECTOR_WKVS_API_URL": self.archive.wkvs_url,
        }
        code, shown = converse([PROGRAM, *arguments], answers, folder=self.folder, environment=environment)
        print(shown)
        assert code == 0, shown
        return shown

    def file(self, name: str, size: int) -> Path:
        path = self.folder / name
        path.write_bytes(os.urandom(size))
        return path

    def states(self) -> dict[str, str]:
        rows = self.archive.administer(lambda archive: admin.list_files(archive, uploads=True))
        return {row["alias"]: row["state"] for row in rows}

    def wait_for(self, **states: str) -> None:
        """Wait until these aliases are in these states."""
        deadline = time.monotonic() + 180
        while self.states() != states:
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.3)


@pytest.fixture(params=SET_UPS)
def user(request: pytest.FixtureRequest, make_archive: MakeArchive, tmp_path: Path) -> Iterator[User]:
    with make_archive(request.param) as archive:
        yield User(tmp_path, archive, write_key_pair(tmp_path / "key.sec", tmp_path / "key.pub", passphrase=None))


def test_ghga_connector_uploads_lists_and_removes(user: User) -> None:
    token = user.archive.grant_upload(user.keys.public)
    user.file("one", 100)
    user.file("two", 12 * MIB + 5)
    user.file("three", 70_000)
    (user.folder / "batch.tsv").write_text("one\tone\ntwo\ttwo\n")
    shown = user.run("batch-upload", "--tsv", "batch.tsv", answers=((ASKS_FOR_TOKEN, token),))
    assert "All files uploaded successfully" in shown
    user.wait_for(one="archived", two="archived")
    again = user.run("batch-upload", "--tsv", "batch.tsv", answers=((ASKS_FOR_TOKEN, token),))
    assert "Nothing to do" in again
    shown = user.run(
        "ubox",
        answers=(
            (ASKS_FOR_TOKEN, token),
            (PROMPT, "upload --alias drei three"),
            (rf"Successfully uploaded drei[\s\S]*{PROMPT}", "ls"),
            (rf"drei +68[\s\S]*{PROMPT}", "rm two"),
            (rf"Deleted 'two'[\s\S]*{PROMPT}", "rm nothing"),
            (rf"nothing[\s\S]*{PROMPT}", "ls"),
            (rf"drei[\s\S]*{PROMPT}", "ls --show-deleted"),
            (rf"two +12[^\n]*deleted[\s\S]*{PROMPT}", "exit"),
        ),
    )
    assert "WARNING" not in shown
    user.wait_for(one="archived", two="cancelled", drei="archived")
    if isinstance(user.archive, ArchiveProcess):
        user.archive.wait_for_jobs()
        assert user.archive.stop() == 0
        assert check(user.archive.root).faults == []


def test_ghga_connector_downloads_and_decrypts(user: User) -> None:
    token = user.archive.grant_upload(user.keys.public)
    sources = {"one": user.file("one", 100), "two": user.file("two", 9 * MIB + 5)}
    (user.folder / "batch.tsv").write_text("".join(f"{name}\t{name}\n" for name in sources))
    user.run("batch-upload", "--tsv", "batch.tsv", answers=((ASKS_FOR_TOKEN, token),))
    user.wait_for(one="archived", two="archived")
    rows = user.archive.administer(admin.list_files)
    token = user.archive.grant_download(user.keys.public)
    (user.folder / "out").mkdir()
    shown = user.run("download", "--output-dir", "out", answers=((ASKS_FOR_TOKEN, token),))
    assert shown.count("has been successfully downloaded") == 2
    shown = user.run("decrypt", "--input-dir", "out", "--output-dir", "plain")
    assert shown.count("Successfully decrypted") == 2
    for row in rows:
        assert (user.folder / "plain" / row["accession"]).read_bytes() == sources[row["alias"]].read_bytes()
