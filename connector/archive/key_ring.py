"""The key ring: the archive's keys, in the database, each sealed under a master key.

The newest key of a kind is the current one: rotating a key adds a document and changes none, so processes that rotate
at once need no lock. Every process keeps the last state that it read, reads it again after some seconds, and at once
when it meets the id of a key that it does not know; so it follows a rotation without being told of it, and nothing is
refused meanwhile.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import attrs
import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from connector.archive.master_keys import MasterKeySource
from connector.archive.models import ArchiveKey, KeyKind
from connector.archive.sealing import MasterKey, fingerprint
from connector.errors import IntegrityError, LocalError
from persistence.documents import Dao
from persistence.errors import AlreadyExists, PersistenceError

_log = logging.getLogger(__name__)

MAX_AGE = 5.0
"""Seconds after which the ring is read again."""
SIGNATURE_VALID = timedelta(minutes=10)
"""How long what was signed with a superseded key is accepted: tokens and URLs live for a minute or so, processes that
have not read the ring again may sign with it for some seconds more, and clocks differ."""
_TICK = timedelta(milliseconds=1)


@attrs.frozen
class RingKey:
    """A key of the ring, opened.

    Attributes:
        id: Made of the key.
        kind: What it is for.
        hub: The storage alias of a hub's key, otherwise empty.
        created: When it became current, by the database's clock.
        superseded: When the next one did; `None` for the current one.
        secret: Its private part: 32 bytes, or of a signing key DER; of a master key nothing.
    """

    id: str
    kind: KeyKind
    hub: str
    created: datetime
    superseded: datetime | None
    secret: bytes = attrs.field(repr=False)


class MissingMasterKeyError(LocalError):
    """Something is sealed under a master key that this process does not have."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"The archive's secrets are sealed under the master key {key_id}, which is not here.",
            hint="Copy its file from the host where it was made, or add it to the environment.",
        )


class KeyRing:
    """The keys of one archive as this process read them last.

    Args:
        keys: The documents.
        masters: The master keys.
        now: The database's clock.

    Attributes:
        masters: The master keys.
        configured: The ids of keys that are given in the configuration of this process.
    """

    def __init__(self, keys: Dao[ArchiveKey], masters: MasterKeySource, now: Callable[[], Awaitable[datetime]]) -> None:
        self._keys = keys
        self.masters = masters
        self.configured: set[str] = set()
        self._now = now
        self._master_keys: Mapping[str, MasterKey] = {}
        self._opened: dict[str, bytes] = {}
        self._ring: dict[tuple[KeyKind, str], list[RingKey]] = {}
        self._unusable: set[str] = set()
        self._read_at = -math.inf
        self._lock = trio.Lock()

    async def refresh(self, max_age: float = 0.0) -> None:
        """Read the ring, unless that was begun less than `max_age` seconds ago; calls at once share one reading.

        Keys that cannot be opened are left out, and logged once.
        """
        wanted = trio.current_time() - max_age
        if self._read_at > wanted:
            return
        async with self._lock:
            if self._read_at > wanted:
                return
            begun = trio.current_time()
            await self._read()
            self._read_at = begun

    async def follow(self) -> None:
        """Read the ring if that was not done for some seconds; if that fails, the last state stays in use."""
        with suppress(PersistenceError, LocalError):
            await self.refresh(MAX_AGE)

    def all(self) -> list[RingKey]:
        """All keys that could be opened."""
        return [key for keys in self._ring.values() for key in keys]

    def keys(self, kind: KeyKind, hub: str = "") -> list[RingKey]:
        """The keys of one kind, the current one first."""
        return list(self._ring.get((kind, hub), ()))

    def current(self, kind: KeyKind, hub: str = "") -> RingKey:
        """The current key of one kind.

        Raises:
            LocalError: None of them could be opened.
        """
        for key in self._ring.get((kind, hub), ()):
            return key
        raise LocalError(
            f"The archive has no {kind} key that can be used.", hint="Give this process the archive's master keys."
        )

    def url_secrets(self) -> Sequence[bytes]:
        """The keys of presigned URLs, the current one first."""
        return [self.current("url").secret, *(key.secret for key in self.keys("url")[1:])]

    def find(self, kind: KeyKind, key_id: object) -> RingKey | None:
        """The key with this id."""
        return next((key for key in self.all() if key.kind == kind and key.id == key_id), None)

    @property
    def master(self) -> MasterKey:
        """The current master key.

        Raises:
            LocalError: This process has none of those that the archive knows.
        """
        for key in self.keys("master"):
            return self._master_keys[key.id]
        raise LocalError(
            "None of the archive's master keys is here.",
            hint="Copy the files from the host where they were made, or add them to the environment.",
        )

    async def find_master(self, key_id: str) -> MasterKey:
        """The master key with this id.

        Raises:
            MissingMasterKeyError: This process does not have it.
        """
        if key_id not in self._master_keys:
            await self._read_masters()
        try:
            return self._master_keys[key_id]
        except KeyError:
            raise MissingMasterKeyError(key_id) from None

    async def add(self, kind: KeyKind, secret: bytes, *, hub: str = "", public: bytes | None = None) -> str:
        """Make a key the current one of its kind; returns its id. It is no error if it is in the ring.

        Args:
            kind: What it is for, anything but `master`.
            secret: Its private part.
            hub: The storage alias of a hub's key.
            public: Its public part, if it has one; the id is made of it.
        """
        await self.refresh()
        key_id = fingerprint(kind, secret if public is None else public)
        sealed = self.master.seal(secret, key_id)
        await self._insert(ArchiveKey(key_id, kind, await self._next_time(kind, hub), self.master.id, sealed, hub))
        return key_id

    async def add_hub_key(self, alias: str, private_key: bytes) -> str:
        """Make a Crypt4GH private key (32 bytes) the current one of a hub."""
        public = X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
        return await self.add("hub", private_key, hub=alias, public=public)

    async def add_master(self, master: MasterKey) -> str:
        """Make a master key, which this process has, the current one."""
        await self._read_masters()
        sealed = master.seal(b"", master.id)
        await self._insert(ArchiveKey(master.id, "master", await self._next_time("master", ""), master.id, sealed))
        return master.id

    async def reseal(self) -> int:
        """Seal all keys under the current master key; returns how many were not."""
        await self.refresh()
        count = 0
        for key in [key async for key in self._keys.find_all({"kind": {"$ne": "master"}})]:
            if key.master_id != self.master.id:
                secret = (await self.find_master(key.master_id)).open(key.sealed, key.id)
                sealed = {"master_id": self.master.id, "sealed": self.master.seal(secret, key.id)}
                await self._keys.compare_and_set(key.id, expected={"master_id": key.master_id}, changes=sealed)
                count += 1
        return count

    def documents(self) -> AsyncIterator[ArchiveKey]:
        """All keys as the database has them, also those that cannot be opened."""
        return self._keys.find_all()

    async def count(self, kind: KeyKind, hub: str = "") -> int:
        """How many keys of one kind the database has, also those that this process cannot open."""
        return await self._keys.count({"kind": kind, "hub": hub})

    async def count_sealed_under(self, master_id: str) -> int:
        """How many keys are sealed under a master key, besides itself."""
        return await self._keys.count({"master_id": master_id, "kind": {"$ne": "master"}})

    async def remove(self, key_id: str) -> None:
        """Remove a key from the ring."""
        await self._keys.delete(key_id)
        self._opened.pop(key_id, None)
        await self.refresh()

    async def _insert(self, key: ArchiveKey) -> None:
        with suppress(AlreadyExists):
            await self._keys.insert(key)
        await self.refresh()

    async def _next_time(self, kind: KeyKind, hub: str) -> datetime:
        """The database's time, or later if the current key has it already."""
        now = await self._now()
        return max([now, *(key.created + _TICK for key in self.keys(kind, hub)[:1])])

    async def _read(self) -> None:
        documents = [key async for key in self._keys.find_all()]
        if any(key.master_id not in self._master_keys for key in documents):
            await self._read_masters()
        ring: dict[tuple[KeyKind, str], list[RingKey]] = {}
        for key in sorted(documents, key=lambda one: (one.created, one.id), reverse=True):
            chain = ring.setdefault((key.kind, key.hub), [])
            if self._open(key):
                superseded = chain[-1].created if chain else None
                chain.append(RingKey(key.id, key.kind, key.hub, key.created, superseded, self._opened[key.id]))
        self._ring = ring

    def _open(self, key: ArchiveKey) -> bool:
        """Open a key once: what its id stands for never changes, whatever it is sealed under."""
        if key.id not in self._opened:
            try:
                if key.master_id not in self._master_keys:
                    raise MissingMasterKeyError(key.master_id)
                self._opened[key.id] = self._master_keys[key.master_id].open(key.sealed, key.id)
            except (LocalError, IntegrityError) as error:
                if key.id not in self._unusable:
                    _log.error("The %s key %s cannot be used: %s", key.kind, key.id, error)
                self._unusable.add(key.id)
                return False
        self._unusable.discard(key.id)
        return True

    async def _read_masters(self) -> None:
        # A directory on a network file system may hang: a process that is stopped does not wait for it.
        self._master_keys = await trio.to_thread.run_sync(self.masters.read, abandon_on_cancel=True)
