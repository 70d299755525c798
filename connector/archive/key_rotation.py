"""Making, rotating and removing the keys of an archive, also while it is served."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import attrs
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector.archive.key_ring import SIGNATURE_VALID, KeyRing, RingKey
from connector.archive.key_store import KeyStore
from connector.archive.models import KeyKind
from connector.archive.sealing import KEY_SIZE, MasterKey
from connector.archive.settings import Clock, utc_now
from connector.archive.upload_repository import UploadRepository
from connector.errors import UsageError

HUB_KEY_CACHED = timedelta(hours=1)
"""How long clients may encrypt for a hub key that they have fetched before it was superseded."""
SECRETS_UNDER_WAY = timedelta(minutes=10)
"""How long a worker may take to store a secret that it has sealed before the master key was superseded: the transaction
is repeated after conflicts, and waits while a primary is elected."""


@attrs.frozen
class KeyUse:
    """A key of the archive, and what needs it.

    Attributes:
        key: The key.
        needed_by: In words; empty if nothing does, so that it may be removed.
    """

    key: RingKey
    needed_by: str

    @property
    def is_current(self) -> bool:
        """Whether it is the newest of its kind."""
        return self.key.superseded is None


async def complete_ring(ring: KeyRing, hub_keys: Mapping[str, bytes | None]) -> None:
    """Make the keys that an archive lacks: all, when it is opened for the first time.

    Args:
        ring: The key ring.
        hub_keys: The storage aliases of the hubs, each with the private key that is configured for it, if there is
            one. A key that the ring does not know becomes the current one.

    Raises:
        LocalError: The master keys cannot be used, or none of those that the archive knows is here.
        UsageError: The key of a hub is that of another one.
    """
    await ring.refresh()
    await trio.to_thread.run_sync(ring.masters.remove_drafts)
    if not await ring.count("master"):
        await ring.add_master(await _new_master(ring))
    _ = ring.master
    if not await ring.count("signing"):
        await ring.add("signing", new_signing_key())
    if not await ring.count("url"):
        await ring.add("url", os.urandom(KEY_SIZE))
    for alias, private_key in hub_keys.items():
        if private_key is not None:
            key_id = await ring.add_hub_key(alias, private_key)
            known = ring.find("hub", key_id)
            if known is not None and known.hub != alias:
                raise UsageError(
                    f"The private key of the hub {alias} is that of the hub {known.hub} already.",
                    hint="Give each hub a key of its own.",
                )
            ring.configured.add(key_id)
        elif not await ring.count("hub", alias):
            await ring.add_hub_key(alias, os.urandom(KEY_SIZE))


def new_signing_key() -> bytes:
    """A new ES256 key, in DER."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@attrs.frozen(eq=False)
class KeyRotation:
    """Rotates and removes the keys of one archive."""

    _ring: KeyRing
    _key_store: KeyStore
    _uploads: UploadRepository
    _clock: Clock

    async def rotate(self, kind: KeyKind, hub: str = "") -> str:
        """Make a new key the current one of its kind; returns its id.

        A new master key is one that was added to the source of master keys and is not in the ring yet, otherwise a
        file is made. Everything that is sealed under an older one is sealed again.

        Raises:
            UsageError: Master keys are given in the environment, which holds no new one; or there are several that the
                archive does not know, of which one may have been removed from it.
            LocalError: The new master key cannot be written.
        """
        match kind:
            case "master":
                if len(unknown := await _unknown_masters(self._ring)) > 1:
                    raise UsageError(
                        f"The archive does not know {len(unknown)} of the master keys here: {', '.join(unknown)}.",
                        hint="Delete those here that were removed from the archive, so that only the new one is left.",
                    )
                master_id = await self._ring.add_master(await _new_master(self._ring))
                await self.reseal()
                return master_id
            case "signing":
                return await self._ring.add("signing", new_signing_key())
            case "url":
                return await self._ring.add("url", os.urandom(KEY_SIZE))
            case "hub":
                return await self._ring.add_hub_key(hub, os.urandom(KEY_SIZE))

    async def reseal(self) -> int:
        """Seal everything under the current master key; returns how much was sealed under another one."""
        count = await self._ring.reseal()
        while resealed := await self._key_store.reseal():
            count += resealed
        return count

    async def list(self) -> list[KeyUse]:
        """All keys, those of a kind one after the other, the current one first."""
        await self._ring.refresh()
        keys = sorted(self._ring.all(), key=lambda key: (key.kind, key.hub, -key.created.timestamp()))
        return [KeyUse(key, await self._needed_by(key)) for key in keys]

    async def remove(self, key_id: str, *, force: bool = False) -> None:
        """Remove a key, so that nothing that it has signed or sealed is taken any more.

        Args:
            key_id: The key.
            force: Also if something may need it, because it has leaked. Never the current one, nor a master key under
                which something is sealed: that would be lost.

        Raises:
            UsageError: There is no such key, or it is still needed, or configured.
        """
        use = next((use for use in await self.list() if use.key.id == key_id), None)
        if use is None:
            raise UsageError(f"The archive has no key {key_id!r}.", hint="`connector archive keys` lists them.")
        if use.is_current:
            raise UsageError(
                f"The key {key_id} is the current one.", hint="Rotate it first: connector archive rotate-key"
            )
        if key_id in self._ring.configured:
            raise UsageError(
                f"The key {key_id} is in the configuration: it would be the current one again after the next start.",
                hint=f"Take private_key of the hub {use.key.hub} out of the configuration of all hosts first.",
            )
        if sealed := await self._sealed_under(use.key):
            raise UsageError(
                f"The key {key_id} is still needed: {sealed}.",
                hint="`connector archive check --repair` seals it again.",
            )
        if use.needed_by and not force:
            raise UsageError(
                f"The key {key_id} is still needed: {use.needed_by}.",
                hint="Wait, or give --force if the key has leaked.",
            )
        if use.key.kind == "master":
            await trio.to_thread.run_sync(self._ring.masters.remove, key_id)
        await self._ring.remove(key_id)

    async def _sealed_under(self, key: RingKey) -> str:
        """What is sealed under a master key, in words; empty if nothing is."""
        if key.kind != "master":
            return ""
        secrets = await self._key_store.count_sealed_under(key.id)
        keys = await self._ring.count_sealed_under(key.id)
        return f"{secrets} file secrets and {keys} keys are sealed under it" if secrets or keys else ""

    async def _needed_by(self, key: RingKey) -> str:
        if key.superseded is None:
            return "current"
        match key.kind:
            case "master":
                end = key.superseded + SECRETS_UNDER_WAY
                return await self._sealed_under(key) or self._until(end, "a worker may still store what it has sealed")
            case "hub":
                end = key.superseded + HUB_KEY_CACHED
                uploads = await self._uploads.count_encrypted_before(end, key.hub)
                if uploads:
                    return f"{uploads} uploads may be encrypted for it"
                return self._until(end, "clients may still encrypt for it")
            case _:
                return self._until(key.superseded + SIGNATURE_VALID, "what it has signed may still be in use")

    def _until(self, end: datetime, why: str) -> str:
        return f"{why} until {end:%F %T} UTC" if utc_now(self._clock) < end else ""


async def _new_master(ring: KeyRing) -> MasterKey:
    """A master key that is here and not in the ring yet, or a new one."""
    added = [*(await _unknown_masters(ring)).values()]
    return added[-1] if added else await trio.to_thread.run_sync(ring.masters.create)


async def _unknown_masters(ring: KeyRing) -> dict[str, MasterKey]:
    """The master keys that are here and not in the ring, by their ids."""
    await ring.refresh()
    known = {key.id for key in ring.keys("master")}
    here = await trio.to_thread.run_sync(ring.masters.read, abandon_on_cancel=True)
    return {key_id: key for key_id, key in here.items() if key_id not in known}


def describe(uses: Iterable[KeyUse]) -> list[dict[str, object]]:
    """The keys as rows of a listing, without anything secret."""
    return [
        {
            "key": use.key.id,
            "kind": use.key.kind,
            "storage_alias": use.key.hub or None,
            "state": "current" if use.is_current else "old",
            "created": use.key.created.isoformat(),
            "superseded": use.key.superseded.isoformat() if use.key.superseded else None,
            "needed_by": use.needed_by if not use.is_current else None,
        }
        for use in uses
    ]
