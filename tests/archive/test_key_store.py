from __future__ import annotations

import base64
import os

import attrs
import pytest

from connector.archive.key_store import KeyStore
from connector.archive.models import StoredSecret
from connector.errors import IntegrityError
from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import NotFound
from tests.support.memory_archive import memory_ring

pytestmark = pytest.mark.trio


async def test_secrets_come_back_and_lie_sealed() -> None:
    async with MemoryDaoFactory() as documents:
        dao = await documents.dao("secrets", StoredSecret, id_field="id")
        ring = await memory_ring(documents)
        store = KeyStore(dao, ring)
        secret = os.urandom(32)
        secret_id = await store.deposit(secret)
        assert await store.fetch(secret_id) == secret
        stored = await dao.get_by_id(secret_id)
        assert secret not in base64.b64decode(stored.sealed)
        assert stored.key_id == ring.master.id
        await dao.delete(secret_id)
        with pytest.raises(NotFound):
            await store.fetch(secret_id)


async def test_swapped_secrets_are_noticed() -> None:
    async with MemoryDaoFactory() as documents:
        dao = await documents.dao("secrets", StoredSecret, id_field="id")
        store = KeyStore(dao, await memory_ring(documents))
        one, two = await store.deposit(os.urandom(32)), await store.deposit(os.urandom(32))
        await dao.update(attrs.evolve(await dao.get_by_id(one), sealed=(await dao.get_by_id(two)).sealed))
        with pytest.raises(IntegrityError):
            await store.fetch(one)
