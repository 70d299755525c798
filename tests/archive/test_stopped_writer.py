"""A worker of an archive on SQLite that is stopped in a transaction: others get an answer within a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from connector.archive.app import make_app
from connector.archive.jobs import find_job, schedule
from connector.archive.settings import utc_now
from connector.crypt4gh.keys import open_text
from connector.wire.payloads import UploadCreation
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import DeadlineExceeded
from tests.support.contract_client import bearer, new_private_key, public_of, seal
from tests.support.memory_archive import ManualClock, memory_archive
from tests.support.stopped_worker import LEASE
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(not hasattr(os, "waitid"), reason="waits until a process is stopped"),
]

DEADLINE = 3.0


@asynccontextmanager
async def stopped_worker(file: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker that has stopped in its transaction; it goes on at the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.stopped_worker", file])
    try:
        await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert process.poll() is None
        yield process
        process.send_signal(signal.SIGCONT)
        assert await trio.to_thread.run_sync(process.wait, PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


async def test_what_others_get_while_it_is_stopped(tmp_path: Path) -> None:
    key, file = new_private_key(), tmp_path / "archive.sqlite"
    clock = ManualClock(time.time())
    async with (
        SqliteDaoFactory(file, deadline=DEADLINE) as documents,
        memory_archive(clock, documents=documents) as archive,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(archive, "http://archive.invalid")),
            base_url="http://archive.invalid",
        ) as client,
    ):
        box = await archive.boxes.create(title="", storage_alias="embedded")
        grant = await archive.work_packages.grant_upload(box, public_of(key))
        sealed = seal(b"content", sender=new_private_key(), recipient=archive.hubs.default.public_key)
        upload = await archive.uploads.create(box.id, UploadCreation(**sealed.announcement("first")))
        await schedule(archive.database, "job", "clean", hub="embedded", now=utc_now(time.time))

        async def token(work_type: str, **which: str) -> str:
            orders = f"/wps/work-packages/{grant.package.id}/boxes/{box.rdub_id}/work-order-tokens"
            secret = open_text(grant.access_token.partition(":")[2], key)
            answer = await client.post(orders, json={"work_type": work_type, **which}, headers=bearer(secret))
            assert answer.status_code == 201, answer.text
            return open_text(answer.json(), key)

        uploads = f"/ucs/boxes/{box.id}/uploads"
        async with stopped_worker(file):
            with trio.fail_after(PATIENCE):  # they are refused after the deadline if they wait
                view = bearer(await token("view"))
                assert (await client.get(uploads, headers=view)).json()["total_count"] == 1
            with trio.fail_after(PATIENCE):  # they are refused after the deadline if they wait
                part = bearer(await token("upload", file_id=upload.id))
                assert (await client.get(f"{uploads}/{upload.id}/parts/1", headers=part)).status_code == 200
            create, announcement = bearer(await token("create", alias="second")), sealed.announcement("second")
            began = trio.current_time()
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await client.post(uploads, headers=create, json=announcement))

            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask)
            # Two may wait after each other: for the lock of this process, and for that of the file; all, for 24 s.
            assert trio.current_time() - began < 6 * DEADLINE
            assert {(answer.status_code, answer.json()["exception_id"]) for answer in answers} == {(503, "unavailable")}
            assert all(answer.headers["retry-after"] for answer in answers)
            await trio.sleep(LEASE)
            with pytest.raises(DeadlineExceeded):
                [job async for job in archive.jobs.claim({"clean": 1}, worker="another")]
        # Its lease had ended, but no other one could take the job.
        assert await find_job(archive.database, "job") is None
        assert (await client.post(uploads, headers=create, json=announcement)).status_code == 201
