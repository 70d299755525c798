"""What the library documents is enough: a download put together by hand, and a transfer of a kind of one's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import httpx
import pytest
import trio

import connector
from connector.http.socket_stream import OnBytes
from tests.support.fake_archive import BASE, FakeArchive

pytestmark = pytest.mark.trio


@attrs.frozen
class Copy:
    """Copies one file into another folder: a transfer kind of somebody's own."""

    source: Path
    target: Path
    part_size: int = 1000

    @property
    def label(self) -> str:
        return self.source.name

    async def prepare(self) -> None:
        await trio.Path(self.target.parent).mkdir(exist_ok=True)

    async def open(self) -> Sequence[connector.Part]:
        await trio.Path(self.target).write_bytes(b"")
        return connector.Parts((await trio.Path(self.source).stat()).st_size, self.part_size)

    async def move(self, part: connector.Part, buffer: memoryview, progress: Callable[[int], None]) -> None:
        async with await trio.open_file(self.source, "rb") as file:
            await file.seek(part.start)
            buffer[:] = await file.read(part.size)
        async with await trio.open_file(self.target, "r+b") as file:
            await file.seek(part.start)
            await file.write(buffer)
        progress(part.size)

    async def finish(self) -> Path:
        return self.target

    async def close(self) -> None: ...


def scheduler() -> connector.Scheduler:
    return connector.Scheduler(
        pool=connector.BufferPool(1024**2),
        limit=connector.ConcurrencyLimit.fixed(3),
        retrier=connector.Retrier(attempts=2),
        observer=connector.SilentObserver(),
    )


async def test_folder_to_folder(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(random.Random(number).randbytes(2500 * number + 1))
    files = sorted(tmp_path.iterdir())
    sources = [tmp_path / "not-there", *files]
    missing, *copied = await scheduler().run(Copy(path, tmp_path / "copies" / path.name) for path in sources)
    assert [outcome.unwrap().read_bytes() for outcome in copied] == [path.read_bytes() for path in files]
    assert isinstance(missing.error, connector.LocalError)


class CountingObjects:
    """An object client of somebody's own: the storage is a dict."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.calls = 0

    async def fetch_into(
        self, url: str, start: int, stop: int, buffer: memoryview, on_bytes: OnBytes, *, size: int | None = None
    ) -> int:
        self.calls += 1
        (content,) = (content for name, content in self.objects.items() if name in url)
        buffer[: stop - start] = content[start:stop]
        on_bytes(stop - start)
        return stop - start

    async def put_from(self, url: str, buffer: memoryview, on_bytes: OnBytes, *, md5: str | None) -> str:
        raise NotImplementedError


class OneToken:
    """A token source of somebody's own: each download has the token that was handed out beforehand."""

    def __init__(self, token: Callable[[str], str]) -> None:
        self._token = token

    def download_token(self, accession: str) -> connector.CachedValue[connector.WorkOrderToken]:
        async def fetch() -> connector.Expiring[connector.WorkOrderToken]:
            return connector.Expiring(connector.WorkOrderToken(self._token(accession)), 30.0)

        return connector.CachedValue(fetch)


@pytest.mark.parametrize("decrypt", [False, True])
async def test_a_download_by_hand(tmp_path: Path, decrypt: bool) -> None:
    user = connector.KeyPair.of(b"u" * 32)
    archive = FakeArchive(user)
    plaintext = random.Random(1).randbytes(300_000)
    archive.add_file("GHGAF01", plaintext)
    objects = CountingObjects({"GHGAF01": archive.files["GHGAF01"].content})
    run = connector.RunContext(
        threads=trio.CapacityLimiter(2), observer=connector.SilentObserver(), part_size=2 * 65_564
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(archive)) as http:
        api = connector.ApiClient(connector.ApiTransport(http), connector.Retrier(), connector.SilentObserver())
        context = connector.DownloadContext(
            run=run,
            tokens=OneToken(
                lambda accession: archive.work_order_token({"work_type": "download", "accession": accession})
            ),
            downloads=connector.DownloadClient(api, lambda: f"{BASE}/dcs"),
            objects=objects,
            private_key=user.private,
            finished=connector.FinishedFiles.read(tmp_path / "finished", "by hand"),
        )
        request = connector.DownloadRequest("GHGAF01", ".bin", tmp_path, decrypt, overwrite=False)
        (outcome,) = await scheduler().run([connector.Download(request, context)])
    file = outcome.unwrap()
    assert (file.path.name, file.verified) == ("GHGAF01.bin" if decrypt else "GHGAF01.bin.c4gh", True)
    assert not decrypt or file.path.read_bytes() == plaintext
    assert objects.calls == 3


async def test_a_session_takes_replacements(tmp_path: Path, nursery: trio.Nursery) -> None:
    user = connector.KeyPair.of(b"u" * 32)
    archive = FakeArchive(user)
    archive.add_file("GHGAF01", b"x" * 200_000)
    objects = CountingObjects({"GHGAF01": archive.files["GHGAF01"].content})
    async with httpx.AsyncClient(transport=httpx.MockTransport(archive)) as api:
        components = connector.Components(api=api, objects=objects, retrier=connector.Retrier(attempts=1))
        token = connector.AccessToken.parse(archive.access_token)
        settings = connector.Settings(wkvs_url=f"{BASE}/wkvs")
        async with connector.open_session(
            settings, user, token, state_folder=tmp_path, components=components
        ) as session:
            (outcome,) = await session.download("GHGAF01", output_dir=str(tmp_path), decrypt=True)
    assert outcome.unwrap().path.read_bytes() == b"x" * 200_000
    assert objects.calls == 1
