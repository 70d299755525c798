from __future__ import annotations

import base64
import os

import attrs
import pytest
from cryptography.exceptions import InvalidTag

from connector.archive.key_store import KeyStore
from connector.archive.models import StoredSecret
from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import NotFound

pytestmark = pytest.mark.trio


async def test_secrets_come_back_and_lie_sealed() -> None:
    async with MemoryDaoFactory() as documents:
        dao = await documents.dao("secrets", StoredSecret, id_field="id")
        store = KeyStore(dao, store_key=bytes(32))
        secret = os.urandom(32)
        secret_id = await store.deposit(secret)
        assert await store.fetch(secret_id) == secret
        assert secret not in base64.b64decode((await dao.get_by_id(secret_id)).sealed)
        await store.forget(secret_id)
        await store.forget(secret_id)
        with pytest.raises(NotFound):
            await store.fetch(secret_id)


async def test_swapped_secrets_and_foreign_keys_are_noticed() -> None:
    async with MemoryDaoFactory() as documents:
        dao = await documents.dao("secrets", StoredSecret, id_field="id")
        store = KeyStore(dao, store_key=bytes(32))
        one, two = await store.deposit(os.urandom(32)), await store.deposit(os.urandom(32))
        await dao.update(attrs.evolve(await dao.get_by_id(one), sealed=(await dao.get_by_id(two)).sealed))
        with pytest.raises(InvalidTag):
            await store.fetch(one)
        with pytest.raises(InvalidTag):
            await KeyStore(dao, store_key=bytes([1]) * 32).fetch(two)
