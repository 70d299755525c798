"""A user at a terminal: ``connector`` as a process of its own, with nothing but what is given here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support.served_archive import ServedArchive


@attrs.frozen
class CommandLine:
    """One user, with a key pair and a folder to work in, at an archive."""

    archive: ServedArchive
    folder: Path
    keys: KeyPair

    @classmethod
    def of(cls, archive: ServedArchive, folder: Path) -> CommandLine:
        """A user with a new key pair in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(archive, folder, write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None))

    def run(
        self, *arguments: str | Path, token: str = "", given: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; ``given`` is piped in, further names are added to the environment."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        settings = {
            "XDG_STATE_HOME": str(self.folder / "state"),
            "CONNECTOR_CONFIG": os.devnull,
            "CONNECTOR_WKVS_URL": self.archive.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(self.folder / "my.sec"),
            "CONNECTOR_PART_SIZE": "5MiB",
            **({"CONNECTOR_ACCESS_TOKEN": token} if token else {}),
        }
        done = subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            cwd=self.folder,
            env={**ours, **settings, **environment},
            text=True,
            capture_output=True,
            timeout=300,
            **({"stdin": subprocess.DEVNULL} if given is None else {"input": given}),
        )
        assert "Traceback" not in done.stderr, done.stderr
        if token:
            assert token.partition(":")[2] not in done.stdout + done.stderr
        return done

    def last_line(self, *arguments: str | Path) -> str:
        """Run one command that has to go well and return the last line of its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]
