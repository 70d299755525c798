"""Transfers beside a task that always computes: without a GIL yielder they would take minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import connector
from connector.recrypt import decrypt_files, encrypt_files
from tests.support.restless import never_rest

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("chunk", [0.0001, 0.002])
async def test_a_task_that_always_computes_does_not_stop_the_transfers_beside_it(tmp_path: Path, chunk: float) -> None:
    source, sealed, opened = tmp_path / "source", tmp_path / "source.c4gh", tmp_path / "opened"
    source.write_bytes(os.urandom(8 * 1024**2))
    keys = connector.KeyPair.of(os.urandom(32))
    settings = connector.Settings()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(never_rest, chunk)
        with trio.fail_after(60):
            request = connector.RecryptRequest(source, sealed)
            (outcome,) = await encrypt_files(settings, keys.private, [keys.public], [request])
            assert outcome.ok
            (outcome,) = await decrypt_files(settings, keys.private, [connector.RecryptRequest(sealed, opened)])
            assert outcome.ok
        nursery.cancel_scope.cancel()
    assert opened.read_bytes() == source.read_bytes()
