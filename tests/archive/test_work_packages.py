from __future__ import annotations

import pytest

from connector.archive import admin
from connector.archive.assembly import Archive, assemble, open_key_ring
from connector.archive.errors import Forbidden, InvalidRequest, NoSuchObject, Unauthenticated
from connector.archive.models import WorkPackage
from connector.archive.work_packages import hash_token
from connector.crypt4gh.keys import open_text
from connector.errors import UsageError
from connector.wire.payloads import WorkOrderRequest
from persistence.documents import DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from tests.support.contract_client import new_private_key, public_of
from tests.support.memory_archive import ManualClock, memory_archive

pytestmark = pytest.mark.trio


async def same_archive(archive: Archive, documents: DaoFactory) -> Archive:
    """The archive in another process."""
    ring = await open_key_ring(documents, archive.keys.masters)
    return await assemble(archive.settings, ring, archive.hubs, documents, clock=ManualClock())


def secret_of(access_token: str, private_key: bytes) -> str:
    return open_text(access_token.partition(":")[2], private_key)


async def test_the_access_token_is_stored_only_hashed() -> None:
    key = new_private_key()
    async with memory_archive() as archive:
        grant = await archive.work_packages.grant_download({"GHGAF1": ".bam"}, public_of(key))
    secret = secret_of(grant.access_token, key)
    assert secret not in repr(grant)
    assert grant.package.token_hash == hash_token(secret)
    assert secret not in repr(grant.package)


async def test_a_package_expires() -> None:
    clock, key = ManualClock(), new_private_key()
    async with memory_archive(clock, package_lifetime=100) as archive:
        grant = await archive.work_packages.grant_download({"GHGAF1": ".bam"}, public_of(key))
        secret = secret_of(grant.access_token, key)
        clock.now += 99
        assert (await archive.work_packages.get(grant.package.id, secret)).id == grant.package.id
        clock.now += 1
        with pytest.raises(Forbidden):
            await archive.work_packages.get(grant.package.id, secret)


async def test_every_grant_has_a_token_of_its_own() -> None:
    key = new_private_key()
    async with memory_archive() as archive:
        one, two = [await archive.work_packages.grant_download({"F": ""}, public_of(key)) for _ in range(2)]
        with pytest.raises(Forbidden):
            await archive.work_packages.get(one.package.id, secret_of(two.access_token, key))
        with pytest.raises(Unauthenticated):
            await archive.work_packages.get(one.package.id, None)


async def test_an_order_for_a_file_that_is_not_registered() -> None:
    key = new_private_key()
    async with memory_archive() as archive:
        grant = await archive.work_packages.grant_download({"GHGAF1": ".bam"}, public_of(key))
        with pytest.raises(NoSuchObject):
            await archive.work_packages.issue_download_token(grant.package, "GHGAF1")


async def test_upload_orders_are_bound_to_the_box_of_the_package() -> None:
    key = new_private_key()
    async with memory_archive() as archive:
        mine = await archive.boxes.create(title="", storage_alias="embedded")
        other = await archive.boxes.create(title="", storage_alias="embedded")
        grant = await archive.work_packages.grant_upload(mine, public_of(key))
        view = WorkOrderRequest("view")
        assert await archive.work_packages.issue_upload_token(grant.package, mine.rdub_id, view)
        for rdub_id in (other.rdub_id, mine.id):
            with pytest.raises(Forbidden):
                await archive.work_packages.issue_upload_token(grant.package, rdub_id, view)
        with pytest.raises(InvalidRequest):
            await archive.work_packages.issue_upload_token(grant.package, mine.rdub_id, WorkOrderRequest("download"))
        for nameless in ("upload", "close", "delete"):
            with pytest.raises(InvalidRequest, match="file_id"):
                await archive.work_packages.issue_upload_token(grant.package, mine.rdub_id, WorkOrderRequest(nameless))


async def test_a_grant_that_is_deleted_is_refused_by_the_next_request() -> None:
    """By another process, too: no document that authorises is cached."""
    key = new_private_key()
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        grant = await archive.work_packages.grant_download({"GHGAF1": ".bam"}, public_of(key))
        secret = secret_of(grant.access_token, key)
        assert (await archive.work_packages.get(grant.package.id, secret)).id == grant.package.id
        await (await documents.dao("packages", WorkPackage, id_field="id")).delete(grant.package.id)
        with pytest.raises(Forbidden):
            await archive.work_packages.get(grant.package.id, secret)


class TestGrants:
    async def test_a_revoked_one_is_refused_with_tokens_that_were_issued_before(self) -> None:
        """By another process, too: it shares nothing with this one but the database."""
        key = new_private_key()
        async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
            another = await same_archive(archive, documents)
            box = await archive.boxes.create(title="", storage_alias="embedded")
            grant = await archive.work_packages.grant_upload(box, public_of(key))
            secret = secret_of(grant.access_token, key)
            package = await another.work_packages.get(grant.package.id, secret)
            sealed = await another.work_packages.issue_upload_token(package, box.rdub_id, WorkOrderRequest("view"))
            token = open_text(sealed, key)
            assert (await another.work_packages.verify(token, "view")).box_id == box.id
            await admin.revoke_grants(archive, [grant.access_token])
            with pytest.raises(Unauthenticated, match="revoked"):
                await another.work_packages.verify(token, "view")
            with pytest.raises(Forbidden):
                await another.work_packages.get(grant.package.id, secret)
            (row,) = await admin.list_grants(another)
            assert (row["state"], row["box"]) == ("revoked", box.id)
            await admin.revoke_grants(archive, [grant.package.id])
            assert await admin.list_grants(another) == [row], "when it was revoked is kept"

    async def test_an_unknown_one_is_named_and_the_others_are_revoked(self) -> None:
        async with memory_archive() as archive:
            grant = await archive.work_packages.grant_download({"F": ""}, public_of(new_private_key()))
            with pytest.raises(UsageError, match="'nothing'"):
                await admin.revoke_grants(archive, ["nothing", grant.package.id])
            (row,) = await admin.list_grants(archive)
            assert row["state"] == "revoked"

    async def test_tokens_end_with_their_grant(self) -> None:
        clock, key = ManualClock(), new_private_key()
        async with memory_archive(clock) as archive:
            box = await archive.boxes.create(title="", storage_alias="embedded")
            grant = await archive.work_packages.grant_upload(box, public_of(key), lifetime=10)
            view = WorkOrderRequest("view")
            token = open_text(await archive.work_packages.issue_upload_token(grant.package, box.rdub_id, view), key)
            assert await archive.work_packages.verify(token, "view")
            clock.now += 10
            with pytest.raises(Unauthenticated, match="expired"):
                await archive.work_packages.verify(token, "view")
            (row,) = await admin.list_grants(archive)
            assert row["state"] == "expired"

    async def test_the_last_use_is_written_once_a_minute(self) -> None:
        clock, key = ManualClock(), new_private_key()
        async with memory_archive(clock) as archive:
            grant = await archive.work_packages.grant_download({"F": ""}, public_of(key))
            secret = secret_of(grant.access_token, key)

            async def last_used() -> float | None:
                (package,) = [one async for one in archive.work_packages.find_all()]
                return package.last_used.timestamp() if package.last_used else None

            assert await last_used() is None
            with pytest.raises(Forbidden):
                await archive.work_packages.get(grant.package.id, "wrong")
            assert await last_used() is None
            begun = clock.now
            for later, expected in ((0, begun), (59, begun), (60, begun + 60), (100, begun + 60), (120, begun + 120)):
                clock.now = begun + later
                await archive.work_packages.get(grant.package.id, secret)
                assert await last_used() == expected
