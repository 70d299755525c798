"""How many round trips pass before the first byte of data, counted by a line with delay between user and archive.

Each service of the archive is a host of its own, to which connections have to be made.
"""

from __future__ import annotations

import random
import shutil
import ssl
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import httpx
import pytest
import trustme

from benchmarks.servers.line import Conditions, Line
from connector.clients.work_packages import AccessToken
from connector.config import Settings
from connector.session import Session, open_session
from connector.upload import UploadSource
from persistence.testing.servers.processes import free_port
from tests.support.served_fake import User

pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


@attrs.frozen
class Far:
    """A user far from the archive, whose storage is the last of the line's entrances."""

    user: User
    line: Line
    settings: Settings
    token: AccessToken

    @property
    def round_trips(self) -> int:
        return self.line.moments()[-1].round_trips

    def first_byte(self, way: str) -> int:
        storage = self.line.moments()[-1].entrances[-1]
        return storage.first_down if way == "down" else storage.first_up

    def session(self, accessions: list[str] | None = None) -> AbstractAsyncContextManager[Session]:
        archive = self.user.archive
        archive.package_type = "upload" if accessions is None else "download"
        folder = self.user.folder
        return open_session(self.settings, archive.user, self.token, state_folder=folder, accessions=accessions)


@pytest.fixture
def scheme() -> str:
    return "http"


@pytest.fixture
def far(user: User, tmp_path: Path, scheme: str) -> Iterator[Far]:
    """Round trips of 0.4 s: much longer than anything is computed for, also on a busy machine."""
    ports = [free_port() for _ in range(5)]
    urls = [f"{scheme}://127.0.0.1:{port}" for port in ports]
    user.archive.apis = {name: f"{url}/{name}" for name, url in zip(("wps", "dcs", "ucs"), urls[1:], strict=False)}
    user.server.storage_url = f"{urls[-1]}/storage"
    settings = Settings(wkvs_url=f"{urls[0]}/wkvs", part_size=user.PART)
    if scheme == "https":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        user.server.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(user.server.tls)
        settings = attrs.evolve(settings, ca_file=tmp_path / "ca.pem")
    user.out.mkdir()
    with Line(Conditions(400, 4, 100), dict.fromkeys(ports, user.server.port), tmp_path) as line:
        yield Far(user, line, settings, AccessToken.parse(user.archive.access_token))


def add_files(user: User, *accessions: str) -> None:
    for number, accession in enumerate(accessions):
        user.archive.add_file(accession, random.Random(number).randbytes(user.PLAIN + 1))


async def fetch(session: Session, far: Far, *accessions: str) -> None:
    for outcome in await session.download(accessions or None, output_dir=far.user.out):
        assert outcome.ok, outcome.error


async def test_a_download_of_named_files_and_of_the_next(far: Far) -> None:
    add_files(far.user, "GHGAF01", "GHGAF02")
    async with far.session(["GHGAF01"]) as session:
        await fetch(session, far, "GHGAF01")
        assert far.first_byte("down") <= 7
        before = far.round_trips
        await fetch(session, far, "GHGAF02")
        assert far.round_trips - before <= 3
    assert far.user.archive.counts["order"] == 2
    assert far.user.archive.counts["object"] == far.user.archive.counts["envelope"] == 2


async def test_a_download_of_all_files(far: Far) -> None:
    add_files(far.user, "GHGAF01", "GHGAF02")
    async with far.session([]) as session:
        await fetch(session, far)
    assert far.first_byte("down") <= 8


async def test_an_upload(far: Far, tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(random.Random(1).randbytes(far.user.PLAIN * 3))
    async with far.session() as session:
        (outcome,) = await session.upload([UploadSource(source, "x")])
        assert outcome.ok, outcome.error
    assert far.first_byte("up") <= 9
    counts = far.user.archive.counts
    assert (counts["package"], counts["create"], counts["complete"]) == (1, 1, 1)


async def test_the_next_file_of_an_upload(far: Far) -> None:
    """Created, a token, the address of its part: what the archive asks for once the file before has left its slot."""
    archive, begun = far.user.archive, []
    archive.window = 1

    def note(request: httpx.Request) -> bool:
        begun.append(far.round_trips)
        return False

    archive.stick("put", note)
    sources = [UploadSource(far.user.folder / name, name) for name in ("x", "y")]
    for source in sources:
        source.path.write_bytes(source.alias.encode() * 1000)
    async with far.session() as session:
        for outcome in await session.upload(sources):
            assert outcome.ok, outcome.error
    first, second = begun
    assert second - first - len(("put", "close")) <= 3


@pytest.mark.parametrize("scheme", ["https"])
async def test_tls_takes_three_more(far: Far) -> None:
    """One each for the services that are not known before: the values, the work packages, the storage."""
    far.user.archive.add_file("GHGAF01", b"one small part")
    async with far.session(["GHGAF01"]) as session:
        await fetch(session, far, "GHGAF01")
    assert far.round_trips <= 10
