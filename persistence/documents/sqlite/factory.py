"""The SQLite provider: DAOs over the tables of one file."""

from __future__ import annotations

from pathlib import Path

from persistence.documents.factory import ProviderFactory
from persistence.documents.sqlite.database import SqliteDatabase


class SqliteDaoFactory(ProviderFactory[SqliteDatabase]):
    """DAOs over one SQLite file (WAL), which other processes may use at the same time.

    A transaction takes the file's one write lock at its beginning, so it never conflicts; keep
    it short. Commits survive the end of the process; after a power cut the last ones may be
    missing, but never halves of one (`synchronous=NORMAL`).

    Args:
        path: the file; created if missing, its folder is not. It must be on a local disk.
        deadline: seconds that any one call may take, waiting for other writers included.
        readers: reads that run at once, each in a thread with a connection of its own.
    """

    def __init__(self, path: Path, *, deadline: float = 15.0, readers: int = 4) -> None:
        super().__init__(lambda: SqliteDatabase(Path(path), deadline=deadline, readers=readers))
