"""The walk along the boundary: each command with each fault at each of its calls into the system.

What is called is found by watching the command once (`tests.support.boundary`), so a new call is walked without a
change here. A sample runs in all runs of the tests; the whole walk, some thousands of processes, with `nox -s soak`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

import connector
from connector.local.key_files import write_key_pair
from tests.support import boundary
from tests.support.archive_process import ArchiveProcess, served_archive
from tests.support.boundary import Ended, Site

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux")

PLAIN = random.Random(3).randbytes(200_000)
SAMPLE = 25
"""Cases of each local command in all runs of the tests."""


@attrs.frozen
class Walk:
    """A command that is walked.

    `prepare` makes its folder, `wrong` returns what must not be there after a failure or is wrong after a success.
    """

    arguments: tuple[str, ...]
    prepare: Callable[[Path], None]
    wrong: Callable[[Path, bool], str]
    environment: Mapping[str, str] = attrs.field(factory=dict)

    def run(self, folder: Path, fault: tuple[Site, str] | None = None) -> tuple[Ended, str]:
        """Run it in a folder of its own; returns also what is wrong with how it ended, if anything is."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.prepare(folder)
        environment = {
            "PATH": os.environ["PATH"],
            "CONNECTOR_CONFIG": os.devnull,
            "XDG_STATE_HOME": str(folder / "state"),
            **self.environment,
        }
        arguments = [argument.replace("FOLDER", folder.name) for argument in self.arguments]
        ended = boundary.run(arguments, environment, folder, fault)
        return ended, self._complaint(ended, folder)

    def _complaint(self, ended: Ended, folder: Path) -> str:
        if ended.code is None:
            return "it hung"
        if ended.code not in (0, 2, 3, 4, 5, 6):
            return f"exit code {ended.code}"
        if "Traceback" in ended.err or "bug in connector" in ended.err:
            return "a traceback or a bug"
        if ended.code and not ended.err.strip():
            return "no sentence"
        return self.wrong(folder, ended.code == 0)


def faults_of(walk: Walk, folder: Path) -> list[tuple[Site, str]]:
    """All faults at all call sites of a command, which has to succeed without."""
    ended, complaint = walk.run(folder)
    assert (ended.code, complaint) == (0, ""), ended.err
    assert len(ended.sites) > 5, "nothing was watched"
    return [(site, fault) for site in sorted(ended.sites) for fault in site.faults()]


def plain_files(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).write_bytes(PLAIN)


def keyed(folder: Path, keys: Path) -> None:
    for name in ("my.sec", "my.pub"):
        shutil.copy(keys / name, folder / name)


def part_made(folder: Path, names: Mapping[str, bytes]) -> str:
    """Files of these names are whole or not there."""
    return " ".join(f"{name} is half-made" for name, data in names.items() if differs(folder / name, data))


def differs(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair, and `a.c4gh` and `b.c4gh` for it."""
    folder = tmp_path_factory.mktemp("keys")
    write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
    for module in pkgutil.walk_packages(connector.__path__, "connector."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    plain_files(folder)
    ended = boundary.run(
        ["encrypt", "a", "b", "--recipient-public-key-path", "my.pub"], {"CONNECTOR_CONFIG": os.devnull}, folder, None
    )
    assert ended.code == 0, ended.err
    return folder


def local_walks(keys: Path) -> dict[str, Walk]:
    def sources(folder: Path) -> None:
        keyed(folder, keys)
        plain_files(folder)

    def sealed(folder: Path) -> None:
        keyed(folder, keys)
        for name in ("a.c4gh", "b.c4gh"):
            shutil.copy(keys / name, folder / name)

    def encrypted(folder: Path, done: bool) -> str:
        found = {path.name: path.stat().st_size for path in folder.glob("*.c4gh")}
        size = (keys / "a.c4gh").stat().st_size
        if done and len(found) != 2:
            return "a result is missing"
        return " ".join(f"{name} is half-made" for name, made in found.items() if made != size)

    def decrypted(folder: Path, done: bool) -> str:
        if done and not ((folder / "out" / "a").exists() and (folder / "out" / "b").exists()):
            return "a result is missing"
        return part_made(folder / "out", {"a": PLAIN, "b": PLAIN})

    def pair(folder: Path, done: bool) -> str:
        found = sorted(path.name for path in folder.glob("new.*"))
        both = ["new.pub", "new.sec"]
        return "" if found == both or not (found or done) else f"left: {found}"

    own = ("--my-private-key-path", "my.sec")
    return {
        "keygen": Walk(("keygen", "--sk", "new.sec", "--pk", "new.pub", "--nocrypt"), lambda folder: None, pair),
        "encrypt": Walk(("encrypt", "a", "b", "--recipient-public-key-path", "my.pub", *own), sources, encrypted),
        "decrypt": Walk(("decrypt", "--input-dir", ".", "--output-dir", "out", *own), sealed, decrypted),
        "status": Walk(("status",), lambda folder: None, lambda folder, done: ""),
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    with ExitStack() as stack:
        root = tmp_path_factory.mktemp("archive")
        yield stack.enter_context(served_archive(root, "--open-uploads", "1000000"))


@pytest.fixture(scope="module")
def remote_walks(keys: Path, archive: ArchiveProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Walk]:
    """The walks of commands that need an archive: one that is served, or the folder of one."""
    from connector.crypt4gh.keys import KeyPair
    from connector.local.key_files import read_private_key

    public = KeyPair.of(read_private_key(keys / "my.sec", str)).public
    common = {
        "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
        "CONNECTOR_WKVS_URL": archive.wkvs_url,
        "CONNECTOR_RETRIES": "0",
    }
    uploads = {**common, "CONNECTOR_ACCESS_TOKEN": archive.grant_upload(public)}

    def sources(folder: Path) -> None:
        keyed(folder, keys)
        (folder / folder.name).write_bytes(PLAIN)

    def unchanged(folder: Path, done: bool) -> str:
        return "" if (folder / folder.name).read_bytes() == PLAIN else "the source was changed"

    def downloaded(folder: Path, done: bool) -> str:
        found = [path for path in (folder / "out").glob("*") if ".part" not in path.name]
        if done and len(found) != 1:
            return "the file is missing"
        return " ".join(f"{path.name} is half-made" for path in found if path.read_bytes() != PLAIN)

    folder = keys / "first-upload"
    upload = Walk(("upload", "FOLDER"), sources, unchanged, uploads)
    ended, complaint = upload.run(folder)
    assert (ended.code, complaint) == (0, ""), ended.err
    (row,) = [row for row in archive.administer(_uploads) if row["alias"] == folder.name]
    archive.wait_for_file(row["file_id"])
    downloads = {**common, "CONNECTOR_ACCESS_TOKEN": archive.grant_download(public)}
    template = tmp_path_factory.mktemp("template") / "arch"
    with served_archive(template) as another:
        another.grant_upload(public)

    def administered(folder: Path) -> None:
        keyed(folder, keys)
        shutil.copytree(template, folder / "arch")

    def anything(folder: Path, done: bool) -> str:
        return ""

    grant = ("archive", "grant", "upload", "--root", "arch", "--public-key", "my.pub")
    return {
        "archive files": Walk(("archive", "files", "--root", "arch"), administered, anything),
        "archive boxes": Walk(("archive", "boxes", "--root", "arch"), administered, anything),
        "archive grant": Walk(grant, administered, anything),
        "upload": upload,
        "download": Walk(
            ("download", "--output-dir", "out", "--decrypt"), lambda folder: keyed(folder, keys), downloaded, downloads
        ),
        "ls": Walk(("ls",), lambda folder: keyed(folder, keys), anything, uploads),
    }


async def _uploads(archive: object) -> list[dict[str, object]]:
    from connector.archive import admin

    return await admin.list_files(archive, uploads=True)  # type: ignore[arg-type,return-value]


def walk_along(walk: Walk, cases: list[tuple[Site, str]], folder: Path) -> list[str]:
    """Run all cases; returns a line for each that ended wrongly."""
    complaints = []
    for number, (site, fault) in enumerate(cases):
        ended, complaint = walk.run(folder / f"case-{number}", (site, fault))
        if complaint:
            complaints.append(f"{site} {fault}: {complaint}\n    {ended.err.strip()[-300:]}")
        shutil.rmtree(folder / f"case-{number}", ignore_errors=True)
    return complaints


@pytest.mark.parametrize("name", ["keygen", "encrypt", "decrypt", "status"])
def test_a_sample_of_the_faults_of_local_commands(keys: Path, tmp_path: Path, name: str) -> None:
    walk = local_walks(keys)[name]
    cases = faults_of(walk, tmp_path / "plain")
    sample = random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, min(SAMPLE, len(cases)))
    assert walk_along(walk, sample, tmp_path) == []


def test_a_planted_exception_is_found(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = local_walks(keys)["encrypt"]
    site = next(site for site, _ in faults_of(walk, tmp_path / "plain") if "local/" in site.file)
    monkeypatch.setitem(boundary.FAULTS, "planted", lambda: ZeroDivisionError("planted"))  # type: ignore[arg-type]
    (complaint,) = walk_along(walk, [(site, "planted")], tmp_path)
    assert "exit code 1" in complaint


@pytest.mark.soak
@pytest.mark.parametrize(
    "name",
    [
        *("keygen", "encrypt", "decrypt", "status", "upload", "download", "ls"),
        *("archive files", "archive boxes", "archive grant"),
    ],
)
def test_the_whole_walk(keys: Path, tmp_path: Path, name: str, remote_walks: dict[str, Walk]) -> None:
    walk = {**local_walks(keys), **remote_walks}[name]
    cases = faults_of(walk, tmp_path / "plain")
    complaints = walk_along(walk, cases, tmp_path)
    counts = Counter(site for site, _ in cases)
    print(f"{name}: {len(counts)} call sites, {len(cases)} faults, {len(complaints)} wrong")
    assert complaints == []
