"""A user of a served archive who has a box, with the command line and with another client."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support.archive_checker import check
from tests.support.archive_siege import Served
from tests.support.chaos_stage import MIB
from tests.support.contract_client import ContractClient, SealedFile
from tests.support.program import Program, command, environment, kill_at_end


@attrs.frozen
class ArchiveUser:
    """A served archive, and a user of it who has a box: with the command line, and with another client."""

    served: Served
    keys: KeyPair
    client: ContractClient
    program: Program

    def run_admin(self, *arguments: str) -> Any:
        """The JSON that an administration command prints, run beside the server."""
        line = command("archive", *arguments, "--root", self.served.root, "--json")
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def state(self, file_id: str) -> str:
        """The state of an upload once it rests."""
        deadline = time.monotonic() + 180
        while True:
            items = self.client.list_uploads(limit=100).json()["items"]
            state = str(next(item["state"] for item in items if item["id"] == file_id))
            if state not in ("inbox", "interrogated", "awaiting_archival") or time.monotonic() > deadline:
                return state
            time.sleep(0.5)  # in whose lulls files are interrogated

    def begin(self, alias: str = "file", size: int = 6 * MIB) -> tuple[str, SealedFile]:
        """An upload whose parts are all there."""
        file = self.client.seal(os.urandom(size))
        file_id = self.client.create(alias, file).json()["file_id"]
        self.client.put_parts(file_id, file.parts)
        return file_id, file

    def faults(self) -> list[str]:
        """What the checker finds, once it finds nothing or after a minute."""
        deadline = time.monotonic() + 180
        while (found := check(self.served.root).faults) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def served_below(place: Path, folder: Path, *options: str) -> Iterator[ArchiveUser]:
    keys = write_key_pair(folder / "user.sec", folder / "user.pub", passphrase=None)
    served = Served(place / "archive", options=options)
    served.start()
    try:
        token = served.grant_upload(folder / "user.pub")
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": served.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "user.sec"),
            "CONNECTOR_ACCESS_TOKEN": token,
            "CONNECTOR_PART_SIZE": "5MiB",
            "CONNECTOR_RETRIES": "1",
        }
        with httpx.Client(timeout=60, trust_env=False) as http:
            yield ArchiveUser(
                served, keys, ContractClient(served.wkvs_url, token, keys.private, http), Program(folder, settings)
            )
    finally:
        if served.process is not None:
            kill_at_end([served.process])
