"""The archive in memory for scripts and pipelines, with a user's keys and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from tests.support.fake_archive import FakeArchive
from tests.support.program import Done, environment, finish
from tests.support.served_fake import User

SIZE = 20 * User.PLAIN
"""Of each file: twenty parts."""


@attrs.frozen
class Site:
    """The archive in memory on a socket, with three files for a user whose key pair is in ``folder``."""

    folder: Path
    archive: FakeArchive
    url: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What each job with this archive is called with; two parts move at a time."""
        return {
            "token": self.archive.access_token,
            "private_key": self.folder / "my.sec",
            "wkvs_url": self.url,
            "part_size": User.PART,
            "max_concurrency": 2,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The same as environment of a script."""
        return {
            "CONNECTOR_ACCESS_TOKEN": self.archive.access_token,
            "CONNECTOR_WKVS_URL": self.url,
            "CONNECTOR_PART_SIZE": str(User.PART),
            "CONNECTOR_MAX_CONCURRENCY": "2",
        }

    def is_whole(self, accession: str, folder: str = "out") -> bool:
        """Whether the decrypted file has the content that the archive has."""
        return (self.folder / folder / f"{accession}.bin").read_bytes() == self.archive.files[accession].plaintext

    def script(self, code: str, *, timeout: float = 180) -> Done:
        """Run a script as a user does, in this folder."""
        path = self.folder / "script.py"
        path.write_text(code)
        pipe = subprocess.PIPE
        return finish(
            subprocess.Popen(
                [sys.executable, str(path)],
                cwd=self.folder,
                env=environment(XDG_STATE_HOME=str(self.folder / "state"), **self.variables),
                text=True,
                stdout=pipe,
                stderr=pipe,
            ),
            timeout=timeout,
        )
