from __future__ import annotations

import pytest

from connector.archive.errors import Forbidden, InvalidRequest, NoSuchObject, Unauthenticated
from connector.archive.models import WorkPackage
from connector.archive.work_packages import hash_token
from connector.wire.payloads import WorkOrderRequest
from persistence.documents.memory import MemoryDaoFactory
from tests.support.contract_client import new_private_key, public_of
from tests.support.memory_archive import ManualClock, memory_archive

pytestmark = pytest.mark.trio


def secret_of(access_token: str, private_key: bytes) -> str:
    from connector.crypt4gh.sealed_text import open_text

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
        assert await archive.work_packages.get(grant.package.id, secret) == grant.package
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
        assert archive.work_packages.issue_upload_token(grant.package, mine.rdub_id, view)
        for rdub_id in (other.rdub_id, mine.id):
            with pytest.raises(Forbidden):
                archive.work_packages.issue_upload_token(grant.package, rdub_id, view)
        with pytest.raises(InvalidRequest):
            archive.work_packages.issue_upload_token(grant.package, mine.rdub_id, WorkOrderRequest("download"))


async def test_a_grant_that_is_deleted_is_refused_by_the_next_request() -> None:
    """By another process, too: no document that authorises is cached."""
    key = new_private_key()
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        grant = await archive.work_packages.grant_download({"GHGAF1": ".bam"}, public_of(key))
        secret = secret_of(grant.access_token, key)
        assert await archive.work_packages.get(grant.package.id, secret) == grant.package
        await (await documents.dao("packages", WorkPackage, id_field="id")).delete(grant.package.id)
        with pytest.raises(Forbidden):
            await archive.work_packages.get(grant.package.id, secret)
