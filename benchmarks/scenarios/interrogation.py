"""The interrogation of one large file: the worker of a served archive against the same steps in one process.

The pipeline reads a part, opens it, adds it to the digest, seals it under another key and stores it, one part after the
other, on the same storage; it has no database, no jobs and no second process. What counts is processor time, of the
worker from the moment that there is a job until the file is registered. Meanwhile ``/health`` of the serving process is
asked fifty times a second.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import trio

from benchmarks.contest import Claim, Contest, Report, Run
from benchmarks.process import Failed, cpu_seconds_of
from benchmarks.scenarios.archive import children_of
from benchmarks.stand import Options, Stand
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.archive.hubs import Hub
from connector.archive.interrogation import PART_SIZE
from connector.archive.jobs import schedule
from connector.archive.models import FileUpload
from connector.archive.settings import utc_now
from connector.crypt4gh.keys import make_header, open_header
from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    PartSealer,
    SealedLayout,
    SegmentDecryptor,
    fit_upload_part_size,
    sealed_size,
)
from connector.parts import Parts
from tests.support.archive_process import ArchiveProcess, serving

WORKER, PIPELINE = "worker", "pipeline in one process"
AT_MOST = 1.25
"""Times the processor time of the pipeline."""
PEAK = 300.0
"""MB of memory of the worker."""
HEALTH = 50.0
"""Milliseconds within which 95 % of the answers of ``/health`` come."""
_SENT_PART = 256 * CIPHER_SEGMENT_SIZE
_PAUSE = 0.02


def run(options: Options) -> Report:
    contest = Contest("interrogation of a large file", options.size / 1e6, "MB")
    with Stand(options, "interrogation") as stand, serving(stand.folder / "root") as served:
        (worker,) = children_of(served)
        comparison = _Comparison(served, worker, options.size)
        trio.run(comparison.run, contest, options.rounds)
        peak = _peak(worker)
    ratios = [mine.cpu / least.cpu for mine, least in zip(contest.runs[WORKER], contest.runs[PIPELINE], strict=True)]
    slow = 1000 * statistics.quantiles(comparison.answered, n=20)[-1]
    return Report(
        "interrogation",
        [contest],
        [
            Claim(
                "interrogation: processor time of the worker against the pipeline (times)",
                statistics.median(ratios),
                AT_MOST,
                at_most=True,
                spread=(min(ratios), max(ratios)),
            ),
            Claim("interrogation: peak memory of the worker (MB)", peak / 1e6, PEAK, at_most=True),
            Claim("interrogation: /health meanwhile, 95th percentile (ms)", slow, HEALTH, at_most=True),
        ],
    )


@dataclass
class _Comparison:
    served: ArchiveProcess
    worker: int
    size: int
    answered: list[float] = field(default_factory=list)

    async def run(self, contest: Contest, rounds: int) -> None:
        async with open_archive(embedded(self.served.root)) as archive:
            sent = await _send(archive, self.size)
            for number in range(rounds):
                for name in (PIPELINE, WORKER) if number % 2 else (WORKER, PIPELINE):
                    if name == PIPELINE:
                        done = await self._in_one_process(archive.hubs.default, sent)
                    else:
                        done = await self._by_the_worker(archive, sent)
                    contest.runs.setdefault(name, []).append(done)
                    print(f"  round {number + 1}: {name:<24} {done.wall:7.2f} s  cpu {done.cpu:6.2f} s", flush=True)

    async def _in_one_process(self, hub: Hub, sent: _Sent) -> Run:
        began, spent = time.monotonic(), time.process_time()
        await _pipeline(hub, sent)
        done = Run(time.monotonic() - began, time.process_time() - spent, 0)
        await hub.storage.delete_object(hub.buckets.permanent, sent.object_id)
        return done

    async def _by_the_worker(self, archive: Archive, sent: _Sent) -> Run:
        hub, database = archive.hubs.default, archive.database
        upload = sent.upload(hub)
        await hub.storage.copy_object(
            hub.buckets.inbox, sent.object_id, to_bucket=hub.buckets.inbox, to_object_id=upload.id
        )
        await database.boxes.compare_and_set(upload.box_id, expected={}, increments={"used_size": sent.size})
        await database.uploads.insert(upload)
        over = threading.Event()
        asking = threading.Thread(target=self._ask, args=(over,))
        asking.start()
        began, spent = time.monotonic(), cpu_seconds_of(self.worker)
        await schedule(database, upload.id, "interrogate", hub=hub.alias, now=await database.factory.now())
        try:
            while (state := (await archive.upload_repository.get(upload.id)).state) != "archived":
                if state == "failed" or time.monotonic() - began > 600:
                    raise Failed(f"The upload is {state}.")
                await trio.sleep(0.1)
        finally:
            over.set()
            asking.join()
        done = Run(time.monotonic() - began, cpu_seconds_of(self.worker) - spent, 0)
        await archive.uploads.cancel(upload.box_id, upload.id)
        return done

    def _ask(self, over: threading.Event) -> None:
        url = self.served.wkvs_url.replace("/.well-known", "/ucs/health")
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not over.wait(_PAUSE):
                began = time.monotonic()
                if http.get(url).status_code != 200:
                    raise Failed(f"{url} does not answer.")
                self.answered.append(time.monotonic() - began)


@dataclass(frozen=True)
class _Sent:
    """An object in the inbox, as a client has sent it."""

    object_id: str
    size: int
    sha256: str
    header_size: int
    box_id: str

    def upload(self, hub: Hub) -> FileUpload:
        """Another upload of the same content, which was closed just now."""
        now, file_id = utc_now(), str(uuid4())
        return FileUpload(
            id=file_id,
            box_id=self.box_id,
            alias=file_id,
            state="inbox",
            storage_alias=hub.alias,
            upload_id="sent",
            decrypted_size=self.size,
            encrypted_size=self.header_size + sealed_size(self.size),
            part_size=_SENT_PART,
            created=now,
            state_updated=now,
            completed=now,
            decrypted_sha256=self.sha256,
        )


async def _send(archive: Archive, size: int) -> _Sent:
    """Put an encrypted file into the inbox, in parts as clients send them."""
    hub, object_id, session_key = archive.hubs.default, str(uuid4()), os.urandom(32)
    header = make_header(session_key, sender_private_key=os.urandom(32), recipient_public_keys=[hub.public_key])
    layout = SealedLayout(header, size)
    sealer = PartSealer(layout, session_key=session_key, nonce_seed=os.urandom(32), random_bytes=os.urandom)
    content, digest = os.urandom(_SENT_PART + (1 << 20)), hashlib.sha256()

    def read(start: int, views: Sequence[memoryview]) -> None:
        for view in views:
            at = start % (1 << 20)
            view[:] = content[at : at + len(view)]
            start += len(view)

    parts = Parts(len(header) + sealed_size(size), _SENT_PART)
    upload_id = await hub.storage.start_upload(hub.buckets.inbox, object_id)
    for part in parts:
        prepared = sealer.read_plaintext(part, memoryview(bytearray(part.size)), read)
        for view in prepared.plaintext:
            digest.update(view)
        await hub.storage.put_part(hub.buckets.inbox, object_id, upload_id, part.number, prepared.seal())
    await hub.storage.complete_upload(hub.buckets.inbox, object_id, upload_id, expected_parts=len(parts))
    box = await archive.boxes.create(title="", storage_alias=hub.alias)
    return _Sent(object_id, size, digest.hexdigest(), len(header), box.id)


async def _pipeline(hub: Hub, sent: _Sent) -> None:
    storage, content_size = hub.storage, sealed_size(sent.size)
    head = memoryview(bytearray(sent.header_size))
    await storage.read_into(hub.buckets.inbox, sent.object_id, 0, head)
    decryptor = SegmentDecryptor(open_header(bytes(head), *hub.private_keys).session_keys)
    layout = SealedLayout(b"", sent.size)
    sealer = PartSealer(layout, session_key=os.urandom(32), nonce_seed=os.urandom(32), random_bytes=os.urandom)
    parts, digest = Parts(content_size, fit_upload_part_size(content_size, PART_SIZE)), hashlib.sha256()
    buffer = memoryview(bytearray(max(part.size for part in parts)))
    upload_id = await storage.start_upload(hub.buckets.permanent, sent.object_id)
    for part in parts:
        view = buffer[: part.size]
        await storage.read_into(hub.buckets.inbox, sent.object_id, sent.header_size + part.start, view)
        plaintext = decryptor.open_part(view, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        for piece in plaintext:
            digest.update(piece)

        def move(_: int, views: Sequence[memoryview], first: memoryview = plaintext[0]) -> None:
            views[0][:] = first

        await storage.put_part(
            hub.buckets.permanent,
            sent.object_id,
            upload_id,
            part.number,
            sealer.read_plaintext(part, view, move).seal(),
        )
    await storage.complete_upload(hub.buckets.permanent, sent.object_id, upload_id, expected_parts=len(parts))
    if digest.hexdigest() != sent.sha256:
        raise Failed("The pipeline has another sha256.")


def _peak(pid: int) -> int:
    words = Path(f"/proc/{pid}/status").read_text().split()
    return 1024 * int(words[words.index("VmHWM:") + 1])
