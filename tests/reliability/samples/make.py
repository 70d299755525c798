"""Makes the samples anew with the version that ``CONNECTOR`` names (see README.md)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.local.key_files import write_key_pair
from tests.reliability.earlier_version import FILES, PLAIN, SAMPLES, SOURCES, TREES, SampleArchive, content, machine
from tests.support.contract_client import SEALED_SEGMENT
from tests.support.fake_archive import ENVELOPE, _range
from tests.support.program import Program
from tests.support.served_fake import ServedFake, serving


def make(folder: Path) -> None:
    """Run the commands below ``folder``, kill those that are to leave something, and keep what they left."""
    keys = write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
    for name in SOURCES:
        (folder / name).write_bytes(content(name))
    (folder / "plain.bin").write_bytes(PLAIN)
    for name in ("encrypted", "decrypted", "done", "opened"):
        (folder / name).mkdir()
    with serving(ServedFake(SampleArchive(keys))) as server:
        archive = server.archive
        wkvs_url = f"{server.url}/wkvs"
        program = Program(
            folder,
            {
                "HOME": str(folder),
                "XDG_STATE_HOME": str(folder / "state"),
                "CONNECTOR_WKVS_URL": wkvs_url,
                "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "my.sec"),
                "CONNECTOR_ACCESS_TOKEN": archive.access_token,
                "CONNECTOR_MAX_CONCURRENCY": "3",
                "CONNECTOR_READ_TIMEOUT": "60",
            },
        )

        def killed(until: Callable[[], bool], *arguments: object, **environment: str) -> None:
            process = program.start(*arguments, environment=environment)
            deadline = time.monotonic() + 180
            while not until():
                if time.monotonic() > deadline or process.poll() is not None:
                    process.kill()
                    raise AssertionError(process.communicate())
                time.sleep(0.05)
            process.kill()
            process.wait()

        def has_lines(pattern: str, count: int) -> Callable[[], bool]:
            return lambda: any(path.read_text().count("\n") == count for path in folder.glob(pattern))

        one_segment = {"CONNECTOR_PART_SIZE": str(SEALED_SEGMENT)}
        archive.stick("get", lambda request: _range(request)[0] == SEALED_SEGMENT)
        download = ("download", "GHGAF1", "--output-dir")
        killed(
            has_lines("decrypted/*.journal", 3),
            *download, folder / "decrypted", "--decrypt", **one_segment,
        )  # fmt: skip
        archive.latency["get"] = 6.0  # after five seconds a record is made to last
        killed(has_lines("encrypted/*.journal", 4), *download, folder / "encrypted", **one_segment)
        archive.heal()
        archive.latency.clear()
        assert program.run("download", "GHGAF9", "--output-dir", folder / "done", "--decrypt").code == 0

        archive.package_type = "upload"
        archive.stick("put", lambda request: request.url.params["partNumber"] == "2")
        smallest = {"CONNECTOR_PART_SIZE": "5MiB"}
        killed(has_lines("state/connector/uploads/*.upload", 3), "upload", "many.bin", **smallest)
        archive.heal()
        archive.stick("complete")
        killed(lambda: archive.counts["complete"] == 1, "upload", "small.bin")
        archive.heal()
        archive.stick("create")
        killed(lambda: archive.counts["create"] == 3, "upload", "announced.bin")
        archive.heal()
        assert program.run("upload", "done.bin").code == 0
        encrypted = program.run("encrypt", "plain.bin", "--recipient-public-key-path", "my.pub")
        assert encrypted.code == 0, encrypted.err
        assert program.run("decrypt", "plain.bin.c4gh", "--output-dir", "opened").code == 0

        parts = archive.upload_of("many.bin").parts
        uploads: dict[str, Any] = {
            upload.alias: {"id": str(upload.id), "announced": upload.announced, "state": upload.state}
            for upload in archive.uploads.values()
        }
        facts = {
            "folder": str(folder),
            "wkvs_url": wkvs_url,
            "machine": machine(),
            "mtimes": {name: (folder / name).stat().st_mtime_ns for name in FILES},
            "uploads": uploads,
            "parts": {
                number: {"md5": hashlib.md5(part).hexdigest(), "sha256": hashlib.sha256(part).hexdigest()}
                for number, part in parts.items()
            },
            "header": parts[1][:ENVELOPE].hex(),
            "third_part_begins": parts[3][:ENVELOPE].hex(),  # the end of a segment that begins in the second
            "small_part": archive.upload_of("small.bin").content.hex(),
        }
    for name in TREES:
        shutil.rmtree(SAMPLES / name, ignore_errors=True)
        shutil.copytree(folder / name, SAMPLES / name)
    for name in ("my.sec", "my.pub", "plain.bin.c4gh"):
        shutil.copyfile(folder / name, SAMPLES / name)
    (SAMPLES / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    assert os.environ.get("CONNECTOR"), "name the version that makes them"
    make(Path(sys.argv[1]).resolve())
