"""The walk along the boundary of uploads and downloads of several files, also after a run that was killed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.archive import admin
from tests.reliability.conftest import WalkKeys
from tests.support.archive_process import ArchiveProcess
from tests.support.boundary import Ended
from tests.support.walk import PLAIN, Case, Walk, faults_of, walk_along

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux"),
]

LARGE = random.Random(5).randbytes(5_500_000)
"""Of two parts, as uploads have them: a class of its own sends files of one part."""


class Transfers:
    """The walks of commands that move files between the working folder and an archive."""

    def __init__(self, keys: WalkKeys, archive: ArchiveProcess, folder: Path) -> None:
        self._keys = keys
        self._archive = archive
        self._common = {
            "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
            "CONNECTOR_WKVS_URL": archive.wkvs_url.replace("127.0.0.1", "localhost"),  # a name, which is resolved
            "CONNECTOR_RETRIES": "0",
            "CONNECTOR_READ_TIMEOUT": "30",
        }
        for name in ("first", "second"):
            ended, complaint = self.upload("").run(folder / name)
            assert (ended.code, complaint) == (0, ""), ended.err
        for row in self.uploads():
            archive.wait_for_file(row["file_id"])
        self._download_token = archive.grant_download(keys.public)

    def upload(self, *suffixes: str, words: Sequence[str] = ()) -> Walk:
        """Upload files into a new box, whose aliases are the name of the working folder and these suffixes.

        They are named by `words`, or by their paths.
        """
        contents = {suffix: LARGE if suffix == "-large" else PLAIN for suffix in suffixes}

        def sources(folder: Path) -> None:
            self._keys.copy_to(folder)
            for suffix, content in contents.items():
                (folder / f"{folder.name}{suffix}").write_bytes(content)
            rows = [f"{folder.name}{suffix}\t{folder.name}{suffix}" for suffix in suffixes]
            (folder / "list.tsv").write_text("\n".join(rows))

        def wrong(folder: Path, done: bool) -> str:
            changed = [s for s, content in contents.items() if (folder / f"{folder.name}{s}").read_bytes() != content]
            return f"the source was changed: {changed}" if changed else ""

        token = self._archive.grant_upload(self._keys.public)
        options = {**self._common, "CONNECTOR_ACCESS_TOKEN": token, "CONNECTOR_PART_SIZE": "5MiB"}
        return Walk(("upload", *(words or [f"FOLDER{suffix}" for suffix in suffixes])), sources, wrong, options)

    def download(self, *options: str) -> Walk:
        """Download two files of two parts each."""

        def wrong(folder: Path, done: bool) -> str:
            found = [path for path in (folder / "out").glob("*") if ".part" not in path.name]
            if done and len(found) != 2:
                return f"a file is missing: {found}"
            return " ".join(f"{path.name} is half-made" for path in found if not self._is_whole(path))

        settings = {**self._common, "CONNECTOR_ACCESS_TOKEN": self._download_token, "CONNECTOR_PART_SIZE": "131128"}
        return Walk(("download", "--output-dir", "out", *options), self._keys.copy_to, wrong, settings)

    def _is_whole(self, path: Path) -> bool:
        if path.suffix != ".c4gh":
            return path.read_bytes() == PLAIN
        return path.stat().st_size == (self._keys.folder / "a.c4gh").stat().st_size

    def uploads(self) -> list[dict[str, Any]]:
        """What the archive has, and in which states."""
        return self._archive.administer(lambda archive: admin.list_files(archive, uploads=True))


@pytest.fixture(scope="module")
def transfers(walk_keys: WalkKeys, walk_archive: ArchiveProcess, tmp_path_factory: pytest.TempPathFactory) -> Transfers:
    return Transfers(walk_keys, walk_archive, tmp_path_factory.mktemp("transfers"))


WALKS: dict[str, Callable[[Transfers, Path], Walk]] = {
    "download": lambda to, folder: to.download(),
    "download --decrypt": lambda to, folder: to.download("--decrypt"),
    "download, resumed": lambda to, folder: to.download().resumed(folder),
    "download --decrypt, resumed": lambda to, folder: to.download("--decrypt").resumed(folder),
    "upload": lambda to, folder: to.upload("-small", "-large"),
    "upload, resumed": lambda to, folder: to.upload("-small", "-large").resumed(folder),
}


SAMPLE = int(os.environ.get("WALK_SAMPLE", "100"))


@pytest.mark.parametrize("name", WALKS)
def test_the_same_command_again_after_a_fault(transfers: Transfers, tmp_path: Path, name: str) -> None:
    """It ends what a run has begun that failed; of a sample of the faults."""
    walk = attrs.evolve(WALKS[name](transfers, tmp_path), is_repeated=True)
    cases = faults_of(walk, tmp_path / "plain")
    sample = random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, min(SAMPLE, len(cases)))
    walk_along(walk, sample, tmp_path)


@pytest.mark.parametrize("name", WALKS)
def test_the_whole_walk(transfers: Transfers, tmp_path: Path, name: str) -> None:
    walk = WALKS[name](transfers, tmp_path)
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)
    # The archive compares each file with the sha256 that the client has stated of it.
    assert {row["state"] for row in transfers.uploads()} <= {"init", "inbox", "interrogated", "archived", "cancelled"}


def again(walk: Walk, *options: str) -> Walk:
    """The same command with these options, after a run that has succeeded."""

    def prepare(folder: Path) -> None:
        ended, complaint = walk.run(folder)
        assert (ended.code, complaint) == (0, ""), ended.err

    return attrs.evolve(walk, prepare=prepare, arguments=(*walk.arguments, *options))


def replacing(walk: Walk) -> Walk:
    """The same command with `--overwrite`, after a run that has succeeded."""
    return Replacing(**attrs.asdict(again(walk, "--overwrite"), recurse=False))


@attrs.frozen
class Replacing(Walk):
    """An upload with `--overwrite`: what the archive keeps by now is replaced only by one that has the record of it."""

    def _complaint(self, ended: Ended, folder: Path, case: Case | None) -> str:
        complaint = super()._complaint(ended, folder, case)
        without_record = case is not None and case.site.file == "connector/local/state_folder.py"
        return "" if ended.code == 4 and without_record and "already" in ended.err else complaint


VARIANTS: dict[str, tuple[str, Callable[[Transfers], Walk]]] = {
    "upload --wait": ("upload", lambda to: to.upload("-small", words=("--wait", "FOLDER-small"))),
    "upload --tsv --dry-run": ("upload", lambda to: to.upload("-small", words=("--tsv", "list.tsv", "--dry-run"))),
    "upload, again": ("upload", lambda to: again(to.upload("-small"))),
    "upload, again, --verify-existing": ("upload", lambda to: again(to.upload("-small"), "--verify-existing")),
    "upload, again, --overwrite": ("upload", lambda to: replacing(to.upload("-small"))),
    "download, again": ("download", lambda to: again(to.download())),
    "download, again, --verify-existing": ("download", lambda to: again(to.download(), "--verify-existing")),
    "download --no-verify": ("download", lambda to: to.download("--no-verify")),
}
"""Commands with options, beside those of the walks above."""


@pytest.mark.parametrize("name", VARIANTS)
def test_the_calls_that_options_add(transfers: Transfers, tmp_path: Path, name: str) -> None:
    """Those of the same command without are walked above."""
    plain, make = VARIANTS[name]
    known = {case.site for case in faults_of(WALKS[plain](transfers, tmp_path), tmp_path / "known")}
    walk = make(transfers)
    cases = [case for case in faults_of(walk, tmp_path / "plain") if case.site not in known]
    walk_along(walk, cases, tmp_path)
