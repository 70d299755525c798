from __future__ import annotations

import os

import pytest

from connector.adapters.object_parts import MissingObjectError, ObjectSink, ObjectSource, as_connector_error
from connector.errors import BrokenError, ConnectorError, IntegrityError, LocalError
from connector.parts import Part, Parts
from persistence.errors import ObjectNotFound, PersistenceError, SignatureRefused, StorageFull, Unreachable
from persistence.objects.memory import MemoryStorage

pytestmark = pytest.mark.trio

MIB = 1024**2


async def content_of(storage: MemoryStorage, object_id: str) -> bytes:
    buffer = bytearray((await storage.stat("bucket", object_id)).size)
    await storage.read_into("bucket", object_id, 0, memoryview(buffer))
    return bytes(buffer)


async def test_parts_are_read_behind_an_offset() -> None:
    async with MemoryStorage() as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "one", b"0123456789")
        source = ObjectSource(storage, "bucket", "one", offset=3)
        buffer = bytearray(4)
        await source.read(Part(2, 2, 6), memoryview(buffer))
        assert bytes(buffer) == b"5678"
        with pytest.raises(IntegrityError, match="10 bytes where 11"):
            await source.read(Part(3, 4, 8), memoryview(buffer))


async def test_a_source_that_is_not_there() -> None:
    async with MemoryStorage() as storage:
        await storage.create_bucket("bucket")
        with pytest.raises(MissingObjectError):
            await ObjectSource(storage, "bucket", "none").read(Part(1, 0, 1), memoryview(bytearray(1)))


@pytest.mark.parametrize("total", [1, 5 * MIB, 12 * MIB + 1])
async def test_parts_written_in_any_order_make_the_object(total: int) -> None:
    content = os.urandom(total)
    async with MemoryStorage() as storage:
        await storage.create_bucket("bucket")
        sink = ObjectSink(storage, "bucket", "one")
        parts = Parts(total, 5 * MIB)
        await sink.open(parts)
        for part in reversed(parts):
            await sink.write(part, memoryview(bytearray(part.size)))
            await sink.write(part, memoryview(content)[part.start : part.stop])
        stat = await sink.finish()
        assert stat.size == total
        await sink.abandon()  # called at the end of every transfer; what is finished stays
        assert await content_of(storage, "one") == content


@pytest.mark.parametrize("total", [1, 12 * MIB])
async def test_an_abandoned_object_leaves_nothing(total: int) -> None:
    async with MemoryStorage() as storage:
        await storage.create_bucket("bucket")
        sink = ObjectSink(storage, "bucket", "one")
        parts = Parts(total, 5 * MIB)
        await sink.open(parts)
        await sink.write(parts[0], memoryview(bytearray(parts[0].size)))
        await sink.abandon()
        assert not await storage.object_exists("bucket", "one")
        assert await storage.list_uploads("bucket") == []


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (ObjectNotFound("b", "o"), MissingObjectError, False),
        (StorageFull("full"), LocalError, False),
        (Unreachable("gone"), BrokenError, True),
        (SignatureRefused("no"), BrokenError, False),
    ],
)
async def test_errors_find_their_family(error: PersistenceError, kind: type[ConnectorError], again: bool) -> None:
    found = as_connector_error(error)
    assert type(found) is kind
    assert found.advice.again is again
    assert found.message == error.message
