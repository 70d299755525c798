"""Where the master keys are: files that only their owner may read, or the environment. Never the database."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import attrs

from connector.archive.key_formats import parse_key, read_secret
from connector.archive.sealing import KEY_SIZE, MasterKey
from connector.errors import LocalError, UsageError

VARIABLE = "CONNECTOR_ARCHIVE_KEYS_MASTER"
"""The environment variable with master keys in base64, separated by blanks or commas."""

_PATTERN = "master-*.key"
_OLD = 3600.0
"""Seconds after which a draft of a key belongs to no running process."""


@attrs.frozen
class GivenMasterKeys:
    """Keys from the environment."""

    _keys: tuple[MasterKey, ...]

    @classmethod
    def parse(cls, text: str) -> GivenMasterKeys:
        """Read the value of the environment variable.

        Raises:
            UsageError: It holds something else than keys of 32 bytes in base64.
        """
        try:
            keys = tuple(MasterKey(parse_key(word.encode())) for word in text.replace(",", " ").split())
        except ValueError:
            keys = ()
        if not keys:
            raise UsageError(
                f"{VARIABLE} does not hold keys of {KEY_SIZE} bytes in base64.",
                hint="Make one with: openssl rand -base64 32",
            )
        return cls(keys)

    def read(self) -> Mapping[str, MasterKey]:
        """All keys by their ids."""
        return {key.id: key for key in self._keys}

    def create(self) -> MasterKey:
        """Refuse: this process cannot change the environment of others."""
        raise UsageError(
            f"{VARIABLE} holds no key that the archive does not know yet.",
            hint="Add a new one there (openssl rand -base64 32) for every process of the archive, then try again.",
        )

    def remove(self, key_id: str) -> None:
        """Refuse, if the key is still there."""
        if key_id in self.read():
            raise UsageError(
                f"The master key {key_id} is in {VARIABLE}.", hint="Take it out there first, for every process."
            )

    def remove_drafts(self) -> None:
        """Do nothing: there are none."""


@attrs.frozen
class MasterKeyDirectory:
    """Keys in files `master-*.key` of a directory, each 32 bytes or their base64, readable by their owner alone."""

    path: Path

    def read(self) -> Mapping[str, MasterKey]:
        """All keys by their ids.

        Raises:
            LocalError: A file cannot be read, may be read by others, or holds no key.
        """
        return {key.id: key for key in self._files().values()}

    def create(self) -> MasterKey:
        """Write a new key; of several processes that make the first key at once, all return the same.

        Raises:
            LocalError: It cannot be written.
        """
        path = self._unused_path(self._files())
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(path, os.urandom(KEY_SIZE))
        except OSError as error:
            raise LocalError(f"The master key {path} cannot be written: {error.strerror}.") from error
        return self._files()[path]

    def add(self, key: MasterKey) -> None:
        """Write a key that is known already, unless there is a file with it."""
        files = self._files()
        if key not in files.values():
            _write_new(self._unused_path(files), key.key)

    def remove(self, key_id: str) -> None:
        """Delete the file of a key; it is no error if there is none."""
        for path, key in self._files().items():
            if key.id == key_id:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise LocalError(f"The master key {path} cannot be removed: {error.strerror}.") from error

    def _unused_path(self, files: Mapping[Path, MasterKey]) -> Path:
        number = len(files) + 1
        while (path := self.path / f"master-{number}.key") in files:
            number += 1
        return path

    def _files(self) -> dict[Path, MasterKey]:
        try:
            # `Path.glob` would take a directory that cannot be read for an empty one.
            paths = sorted(self.path / name for name in os.listdir(self.path) if fnmatch(name, _PATTERN))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise LocalError(f"The master keys in {self.path} cannot be read: {error.strerror}.") from error
        return {path: _read(path) for path in paths}

    def remove_drafts(self) -> None:
        """Remove files that a killed process began to write some time ago."""
        for draft in self.path.glob(f".{_PATTERN}.*"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime > _OLD:
                    draft.unlink()


MasterKeySource = GivenMasterKeys | MasterKeyDirectory
"""The master keys that this process may use. All methods block on the disk."""


def _read(path: Path) -> MasterKey:
    try:
        return MasterKey(parse_key(read_secret(path)))
    except ValueError as error:
        raise LocalError(
            f"{path} cannot be used: it holds no key of {KEY_SIZE} bytes.",
            hint="Restore it; what was sealed under a lost key cannot be read again.",
        ) from error


def _write_new(path: Path, content: bytes) -> None:
    """Write a file unless there is one. It appears complete: other processes may look for it at any time."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
