"""The folder for what outlives a run: journals of uploads, notes of finished files and of the folders of downloads.

It is in the user's home by default, which the machines of a cluster share.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from contextlib import suppress
from pathlib import Path

import attrs
import platformdirs

from connector.config import APPLICATION
from connector.local.journal import decode_record, encode_record

_SUFFIX = ".output"
_LONGEST = 64 * 1024


@attrs.frozen
class NotedFolder:
    """An output folder, and the machine that noted it."""

    path: Path
    host: str
    note: Path

    @property
    def is_there(self) -> bool:
        """Whether this machine sees the folder."""
        return self.path.is_dir()


@attrs.frozen
class OutputFolders:
    """The folders that downloads went to, noted so that `connector status` finds what is unfinished.

    One small file in `folder` for each output folder and machine. Where it cannot be written, no download fails.
    Methods block: call them in threads.
    """

    folder: Path

    def note(self, output: Path) -> None:
        """Note that a download into `output` (absolute) begins."""
        note = self._note(output)
        new = note.with_name(f"{note.name}.{uuid.uuid4().hex}")
        with suppress(OSError):
            if note.exists():
                return
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(encode_record({"folder": str(output), "host": socket.gethostname()}))
            os.replace(new, note)

    def forget_if_finished(self, output: Path) -> None:
        """Drop the note of this machine about `output` if nothing unfinished is left there."""
        with suppress(OSError):
            if not any(output.glob("*.part*")):
                self._note(output).unlink(missing_ok=True)

    def noted(self) -> list[NotedFolder]:
        """All noted folders by path, each once, those of this machine first; its own that are gone are forgotten."""
        found: dict[Path, NotedFolder] = {}
        host = socket.gethostname()
        for note in sorted(self._read(), key=lambda note: (note.path, note.host != host)):
            if note.host == host and not note.is_there:
                with suppress(OSError):
                    note.note.unlink(missing_ok=True)
            else:
                found.setdefault(note.path, note)
        return list(found.values())

    def _read(self) -> list[NotedFolder]:
        found = []
        with suppress(OSError):
            for note in self.folder.glob(f"*{_SUFFIX}"):
                with suppress(OSError, TypeError), note.open("rb") as file:
                    record = decode_record(file.read(_LONGEST).rstrip(b"\n")) or {}
                    if isinstance(record.get("folder"), str) and isinstance(record.get("host"), str):
                        found.append(NotedFolder(Path(record["folder"]), record["host"], note))
        return found

    def _note(self, output: Path) -> Path:
        name = f"{socket.gethostname()}\0{output}"
        return self.folder / (hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32] + _SUFFIX)


@attrs.frozen
class StateFolder:
    """The state folder of a user; nothing is made before it is needed."""

    path: Path = attrs.field(factory=lambda: Path(platformdirs.user_state_dir(APPLICATION)))

    @property
    def uploads(self) -> Path:
        """Where the journals of unfinished uploads are."""
        return self.path / "uploads"

    @property
    def finished(self) -> Path:
        """Where the notes of finished files are (`finished`)."""
        return self.path / "finished"

    @property
    def outputs(self) -> OutputFolders:
        """The notes of the folders that downloads went to."""
        return OutputFolders(self.path / "outputs")

    @classmethod
    def of(cls, path: Path | None) -> StateFolder:
        """The folder at `path`, or the user's."""
        return cls() if path is None else cls(path)
