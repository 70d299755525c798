"""An archive that leaves the bytes of uploads to the nginx in front of it: all else of it is the embedded one.

python -m benchmarks.servers.archive_beside_nginx ROOT --port PORT --public-url URL [--open-uploads N]

Part URLs lead to nginx's ``/parts/FILE_ID/NUMBER``. nginx writes the body to a file and then asks here, with the
file's name instead of the body; it is moved to ``ROOT/parts/FILE_ID/NUMBER`` and the answer is 200, as from S3. When
the upload is closed, number and sizes of the parts are checked; what the client says of them is kept beside them as
``claim.json``, for :mod:`benchmarks.servers.received`. There is no interrogation.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
from starlette.responses import Response

from connector.archive.app import WELL_KNOWN_PATH, make_app
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.errors import UploadCompletionError
from connector.archive.hubs import Hub
from connector.archive.models import FileUpload
from connector.archive.server import open_listener, serve
from connector.archive.upload_controller import UploadController
from connector.archive.upload_creation import UploadCreator
from connector.parts import Parts
from connector.wire.payloads import UploadCompletion
from persistence.objects.values import ObjectStat

_PART_PATH = re.compile(r"/parts/([0-9a-z-]+)/([0-9]+)")
App = Callable[[Any, Any, Any], Awaitable[None]]


class UploadsBeside(UploadController):
    """Uploads whose parts come to lie in ``parts``, a folder for each, without passing through here."""

    def __init__(self, archive: Archive, parts: Path, base_url: str) -> None:
        database, boxes, uploads, hubs, settings = (
            archive.database,
            archive.boxes,
            archive.upload_repository,
            archive.hubs,
            archive.settings,
        )
        creator = UploadCreator(database, boxes, uploads, hubs, settings, time.time)
        super().__init__(database, boxes, uploads, creator, hubs, settings, time.time)
        self._parts = parts
        self._base_url = base_url
        self._claims: dict[str, UploadCompletion] = {}

    async def part_url(self, box_id: str, file_id: str, number: int) -> str:
        """All checks and the signature as ever, but the URL leads to nginx."""
        signed = await super().part_url(box_id, file_id, number)
        return f"{self._base_url}/parts/{file_id}/{number}?{urlsplit(signed).query}"

    async def close(self, box_id: str, file_id: str, claim: UploadCompletion) -> None:
        """As ever, but the digests are taken from the client: the harness computes them when the run is over."""
        self._claims[file_id] = claim
        try:
            await super().close(box_id, file_id, claim)
        finally:
            self._claims.pop(file_id, None)

    async def _complete(self, hub: Hub, upload: FileUpload) -> ObjectStat:
        claim = self._claims[upload.id]
        folder = f"{self._parts}/{upload.id}"
        planned = Parts(upload.encrypted_size, upload.part_size)
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            found = {int(entry.name): entry.stat().st_size for entry in entries}
            if found == {part.number: part.size for part in planned}:
                stated = {**attrs.asdict(claim), "alias": upload.alias, "encrypted_size": upload.encrypted_size}
                with open(f"{folder}/claim.json", "wb", buffering=0) as file:
                    file.write(json.dumps(stated).encode())
                etag, now = claim.encrypted_md5.lower(), datetime.now(UTC)
                return ObjectStat(hub.buckets.inbox, upload.id, upload.encrypted_size, etag, now)
        raise UploadCompletionError(f"Not all of {len(planned)} parts have arrived whole.", file_id=upload.id)


def with_parts(app: App, parts: Path) -> App:
    """``app``, and what nginx asks about each part that it has received."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/parts/"):
            return await app(scope, receive, send)
        fits = _PART_PATH.fullmatch(scope["path"])
        body = dict(scope["headers"]).get(b"x-body-file", b"").decode()
        if scope["method"] != "PUT" or not fits or not body:
            return await Response("not a part", status_code=400)(scope, receive, send)
        folder = f"{parts}/{fits[1]}"
        with suppress(FileExistsError):
            os.mkdir(folder)
        os.replace(body, f"{folder}/{int(fits[2])}")
        await Response()(scope, receive, send)

    return answer


async def main(root: Path, port: int, public_url: str, open_uploads: int) -> None:
    config = embedded(root, open_uploads=open_uploads)
    parts = root / "parts"
    listener = open_listener("127.0.0.1", port)
    with listener:
        async with open_archive(config, base_url=public_url) as archive:
            parts.mkdir(exist_ok=True)
            beside = attrs.evolve(archive, uploads=UploadsBeside(archive, parts, public_url))
            app = with_parts(make_app(beside, public_url), parts)
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve, app, listener, stop=trio.Event()))
                print(f"Archive ready at {public_url}{WELL_KNOWN_PATH}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--public-url", required=True)
    parser.add_argument("--open-uploads", type=int, default=5)
    arguments = parser.parse_args()
    gc.set_threshold(5_000, 20, 100)  # as our own command sets it
    trio.run(main, arguments.root, arguments.port, arguments.public_url, arguments.open_uploads)
