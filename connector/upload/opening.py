"""The opening of an upload: going on with the one that an earlier run has left, or announcing a new one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import attrs

from connector.clients.leases import Lease
from connector.clients.work_orders import WorkOrder
from connector.core.header import make_envelope
from connector.core.layout import Parts
from connector.core.payloads import CreatedUpload, UploadCreation
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.local.key_files import KeyPair
from connector.upload.box import UploadBox
from connector.upload.resumption import EarlierUpload, LeftUpload, StartedUpload, UploadSecrets
from connector.upload.source import UploadSource


@attrs.frozen(kw_only=True)
class Opening:
    """Opens the upload of one source in a box, announced with the token ``order``.

    ``hub_key`` gives the public key of a storage alias, ``draw`` random bytes. ``delete`` deletes an upload and tells
    whether that went well, ``forget`` drops what is noted here of an upload that is not in the archive.
    """

    source: UploadSource = attrs.field(kw_only=False)
    box: UploadBox
    order: Lease[WorkOrder]
    keys: KeyPair
    hub_key: Callable[[str], bytes]
    overwrite: bool
    draw: Callable[[int], bytes]
    delete: Callable[[UUID], Awaitable[bool]]
    forget: Callable[[], Awaitable[None]]

    async def find_earlier(self, left: LeftUpload, total: int) -> EarlierUpload | None:
        """The upload that an earlier run has left, as far as the archive still knows it; ``total``: its sealed bytes.

        One that cannot be gone on with, since the file is another by now or little is known of it, is deleted: it would
        hold the alias.
        """
        found = next((upload for upload in await self.box.list() if left.is_it(upload)), None)
        if found is None:
            return None
        earlier = left.earlier
        if earlier is not None:
            earlier = earlier.at(found.state, len(Parts(total, earlier.started.part_size)))
        if earlier is None and found.state == "init":
            await self.box.delete(found.id)
        return earlier

    async def start(self, size: int, total: int, part_size: int) -> StartedUpload:
        """Announce the file of ``size`` bytes, ``total`` sealed, and draw its secrets."""
        created = await self._create(
            UploadCreation(
                alias=self.source.alias,
                decrypted_size=size,
                encrypted_size=total,
                part_size=part_size,
                overwrite=self.overwrite,
            )
        )
        try:
            secrets = UploadSecrets(session_key=self.draw(32), nonce_seed=self.draw(32))
            envelope = make_envelope(
                secrets.session_key,
                sender_private_key=self.keys.private,
                recipient_public_keys=[self.hub_key(created.storage_alias)],
            )
        except ConnectorError:
            if await self.delete(created.file_id):
                await self.forget()
            raise
        return StartedUpload(created.file_id, part_size, envelope, secrets)

    async def _create(self, creation: UploadCreation) -> CreatedUpload:
        unheard = False

        def note(error: ConnectorError, delay: float) -> None:
            nonlocal unheard
            unheard = unheard or isinstance(error, BrokenError)

        try:
            return await self.box.create(self.order, creation, note)
        except RefusedError as error:
            taken = error.exception_id == "fileUploadAlreadyExists"
            lost = await self._lost(creation) if taken and unheard else None
            if lost is None:
                if taken or not unheard:
                    await self.forget()
                raise
        await self.box.delete(lost)
        return await self.box.create(self.order, creation)

    async def _lost(self, creation: UploadCreation) -> UUID | None:
        """The upload that holds the alias if it is our own, the answer to whose creation was lost on the way.

        One that has come farther was there before, and one of another size is of another file.
        """
        for upload in await self.box.list():
            if upload.alias == creation.alias and upload.state == "init":
                return upload.id if upload.decrypted_size in (None, creation.decrypted_size) else None
        return None
