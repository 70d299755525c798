from __future__ import annotations

import anyio
import pytest

from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import Unreachable
from persistence.objects.memory import MemoryStorage
from persistence.testing import DaoHarness, StorageHarness, dao_suite, object_storage_suite
from persistence.testing.faults import Faults, faulty
from persistence.testing.gateway import SignedGateway
from persistence.testing.models import Person

pytestmark = pytest.mark.anyio

GONE = Unreachable("The server is gone.")


async def test_a_method_fails_so_many_times() -> None:
    faults = Faults()
    async with faulty(MemoryStorage(), faults) as storage:
        faults.fail("create_bucket", GONE, times=2)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await storage.create_bucket("bucket")
        await storage.create_bucket("bucket")
        assert faults.calls["create_bucket"] == 3


async def test_an_answer_is_lost_after_the_call() -> None:
    faults = Faults()
    async with faulty(MemoryStorage(), faults) as storage:
        faults.fail("create_bucket", GONE, after=True)
        with pytest.raises(Unreachable):
            await storage.create_bucket("bucket")
        assert await storage.bucket_exists("bucket")


async def test_a_share_of_calls_fails() -> None:
    faults = Faults()
    async with faulty(MemoryStorage(), faults) as storage:
        faults.fail("*", GONE, rate=0.3)
        failed = 0
        for _ in range(300):
            try:
                await storage.list_buckets()
            except Unreachable:
                failed += 1
        assert 60 < failed < 120
        faults.heal()
        await storage.list_buckets()


async def test_a_method_hangs_until_cancelled() -> None:
    faults = Faults()
    async with faulty(MemoryStorage(), faults) as storage:
        faults.delay("list_buckets", float("inf"))
        with anyio.move_on_after(0.05) as scope:
            await storage.list_buckets()
        assert scope.cancelled_caught


async def test_streams_and_listings_fail_on_the_way() -> None:
    faults = Faults()
    async with faulty(MemoryStorage(), faults) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "object", b"x" * 3_000_000)
        faults.fail("open_range.next", GONE)
        async with storage.open_range("bucket", "object") as stream:
            with pytest.raises(Unreachable):
                await anext(stream)
        faults.fail("list_objects", GONE)
        with pytest.raises(Unreachable):
            await anext(storage.list_objects("bucket"))


async def test_daos_of_a_wrapped_factory_fail_too() -> None:
    faults = Faults()
    async with faulty(MemoryDaoFactory(), faults) as factory:
        dao = await factory.dao("people", Person, id_field="id")
        faults.fail("insert", GONE, times=1)
        with pytest.raises(Unreachable):
            await dao.insert(Person("1"))
        faults.fail("insert", GONE, times=1)
        with pytest.raises(Unreachable):
            async with factory.transaction() as transaction:
                await transaction.bind(dao).insert(Person("1"))
        assert await dao.count() == 0


# The wrappers do not know which event loop they run in.
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_without_faults_the_suite_of_storages_passes() -> None:
    memory = MemoryStorage()
    async with faulty(memory, Faults()) as storage:
        harness = StorageHarness(storage, SignedGateway(storage, memory.signing), anyio.sleep)
        for case in object_storage_suite():
            if "expires" not in str(case) and "part" not in str(case):
                await case.run(harness)


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("share", [0, 1])
async def test_without_faults_the_suite_of_documents_passes(share: int) -> None:
    async with faulty(MemoryDaoFactory(), Faults()) as factory:
        for dao_case in dao_suite()[share::2]:
            if "cancellation" not in str(dao_case):
                await dao_case.run(DaoHarness(factory, MemoryDaoFactory))
