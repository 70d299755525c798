"""The user's folders: the state (journals of uploads, records of finished files and output folders), the settings.

Both are in the user's home by default, which the machines of a cluster share.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import platformdirs

from connector.config import APPLICATION, Settings, config_place, load_settings, option_name
from connector.errors import LocalError, UsageError
from connector.local.disk import files_named, local_failures, read_own_file, read_small_file
from connector.local.journal import decode_record, encode_record

_NOWHERE = Path(os.devnull, APPLICATION)
"""The state folder of a user without a home: nothing can be created in it."""
_SUFFIX = ".output"
_LONGEST = 64 * 1024
_LONGEST_SETTINGS = 1024**2


@attrs.frozen
class RecordedFolder:
    """An output folder, the machine that recorded it, and the file of that record."""

    path: Path
    host: str
    record: Path

    @property
    def is_gone(self) -> bool:
        """Whether there is certainly no such folder on this machine."""
        try:
            return not stat.S_ISDIR(os.stat(self.path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError):
            return False


@attrs.frozen
class OutputFolders:
    """The output folders of downloads, recorded so that `connector status` finds what is unfinished.

    There is one small file in `folder` for each output folder and machine. If it cannot be written, no download fails.
    Methods block: call them in threads.
    """

    folder: Path

    def add(self, output: Path) -> None:
        """Record that a download into `output` (absolute) begins."""
        record = self._record_of(output)
        new = record.with_name(f"{record.name}.{uuid.uuid4().hex}")
        with suppress(OSError):
            if record.exists():
                return
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(encode_record({"folder": str(output), "host": socket.gethostname()}))
            os.replace(new, record)

    def forget_if_finished(self, output: Path) -> None:
        """Drop the record of this machine about `output` if nothing unfinished is left there."""
        with suppress(OSError):
            if not any(".part" in name for name in os.listdir(output)):
                self._record_of(output).unlink(missing_ok=True)

    def find_all(self, on_unreadable: Callable[[LocalError], None]) -> list[RecordedFolder]:
        """All recorded folders by path, each once, this machine's first; drops those of its own that do not exist.

        `on_unreadable` gets the error of a record, or of all of them, that cannot be read.
        """
        found: dict[Path, RecordedFolder] = {}
        host = socket.gethostname()
        for recorded in sorted(self._read(on_unreadable), key=lambda recorded: (recorded.path, recorded.host != host)):
            if recorded.host == host and recorded.is_gone:
                with suppress(OSError):
                    recorded.record.unlink(missing_ok=True)
            else:
                found.setdefault(recorded.path, recorded)
        return list(found.values())

    def _read(self, on_unreadable: Callable[[LocalError], None]) -> Iterator[RecordedFolder]:
        try:
            paths = files_named(self.folder, _SUFFIX)
        except LocalError as error:
            return on_unreadable(error)
        for path in paths:
            try:
                with local_failures("read", path):
                    content = read_own_file(path, _LONGEST)
            except LocalError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # forgotten just now
                    on_unreadable(error)
                continue
            record = decode_record(content.rstrip(b"\n")) or {}
            if isinstance(record.get("folder"), str) and isinstance(record.get("host"), str):
                yield RecordedFolder(Path(record["folder"]), record["host"], path)

    def _record_of(self, output: Path) -> Path:
        name = f"{socket.gethostname()}\0{output}"
        return self.folder / (hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32] + _SUFFIX)


def _or_users(path: Path | None) -> Path:
    if path is not None:
        return path
    try:
        found = Path(platformdirs.user_state_dir(APPLICATION))
    except RuntimeError:
        return _NOWHERE
    # Older versions of platformdirs leave "~" in it: no folder of that name must be created where the command runs.
    return found if found.is_absolute() else _NOWHERE


@contextmanager
def state_failures(*, platform: str = sys.platform) -> Iterator[None]:
    """Add to a `LocalError` about the state folder how it is moved, unless another process is its cause."""
    try:
        yield
    except LocalError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        variable = "LOCALAPPDATA" if platform == "win32" else "XDG_STATE_HOME"
        hint = f"The state of uploads is kept there; {variable} names another folder for it."
        raise LocalError(error.message, hint=hint) from error.__cause__


@attrs.frozen
class StateFolder:
    """The state folder of a user, by default the system's place for it; nothing is created before it is needed."""

    path: Path = attrs.field(default=None, converter=_or_users)

    @property
    def uploads(self) -> Path:
        """The folder of the journals of unfinished uploads."""
        return self.path / "uploads"

    @property
    def finished(self) -> Path:
        """The folder of the records of finished files (`FinishedFiles`)."""
        return self.path / "finished"

    @property
    def outputs(self) -> OutputFolders:
        """The records of the output folders of downloads."""
        return OutputFolders(self.path / "outputs")


def read_settings(
    values: Mapping[str, object | None],
    environment: Mapping[str, str],
    *,
    config: str | None = None,
    name_of: Callable[[str], str] = option_name,
) -> Settings:
    """Put settings together as `load_settings` does; reads the configuration file, by default the user's. Blocks.

    Raises:
        UsageError: Naming the source of an invalid value, or a configuration file that cannot be read.
    """
    path, named = config_place(config, environment)
    return load_settings(values, environment, _read(path, named), config_name=str(path), name_of=name_of)


def _read(path: Path, named: bool) -> bytes | None:
    try:
        return read_small_file(path, "configuration file", limit=_LONGEST_SETTINGS)
    except LocalError as error:
        if not named and isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise UsageError(error.message, hint=error.hint) from error
