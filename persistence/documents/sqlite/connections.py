"""Connections to one SQLite file: one that writes, some that read, all used in threads.

SQLite allows one writer at a time. The writers of one process queue on a fair lock; a lock of another
process is polled by the thread, in short random steps, until the deadline. The thread of a cancelled
call is abandoned: it rolls back unless it has begun to commit.
"""

from __future__ import annotations

import contextlib
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from persistence import errors
from persistence.documents.single_writer import SingleWriterDatabase
from persistence.documents.sqlite.sql import register_functions
from persistence.threads import CallerCancelled, Threads

T = TypeVar("T")

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NOT_OPENED: Final = "Check that its folder exists, and that files can be made and written there."
_HELD: Final = "Another writer holds it; inside a transaction use DAOs bound to it."
_REFUSED: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


class Connections(SingleWriterDatabase):
    """The connections of one opening of the file.

    Args:
        path: the file; created if missing, its folder is not.
        deadline: seconds that any one call may take, waiting for other writers included.
        readers: connections that read at once.
    """

    def __init__(self, path: Path, *, deadline: float, readers: int) -> None:
        super().__init__(deadline=deadline, what=str(path))
        self._path = path
        self._reader_count = readers
        self._opened = 0
        self._readers: queue.SimpleQueue[sqlite3.Connection | None] = queue.SimpleQueue()
        self._writer: sqlite3.Connection | None = None
        # Held by the thread that uses the writing connection, which an abandoned thread may still do.
        self._writing = threading.Lock()
        self._read_threads = Threads(readers, deadline=deadline, what=str(path), hint=_HELD)
        self._write_threads = Threads(2, deadline=deadline, what=str(path), hint=_HELD)

    async def open(self) -> None:
        self._writer = await self._in_thread(self._connect, self._write_threads)
        for _ in range(self._reader_count):
            self._readers.put(await self._in_thread(self._connect, self._read_threads))
            self._opened += 1

    async def close(self) -> None:
        """Close all connections once the threads that use them have ended."""

        def close_all() -> None:
            for _ in range(self._opened):
                with contextlib.suppress(queue.Empty):
                    if connection := self._readers.get(timeout=self._deadline):
                        connection.close()
            # A thread that begins only now puts it back for the next.
            self._readers.put(None)
            with self._writing:
                if self._writer is not None:
                    self._writer.close()

        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(close_all)
        self._writer = None

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call on a reading connection."""
        self.check()

        def run(cancelled: threading.Event) -> T:
            connection = self._readers.get()
            try:
                if connection is None:
                    raise errors.Closed("The database")
                return self._retry_while_locked(lambda: call(connection), cancelled)
            finally:
                self._readers.put(connection)

        return await self._in_thread(run, self._read_threads)

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call in a transaction of its own on the writing connection."""
        self.check()
        async with self.only_writer():
            return await self._in_thread(lambda cancelled: self._whole(call, cancelled), self._write_threads)

    async def begin(self) -> None:
        """Begin a transaction on the writing connection; the caller is `only_writer` until its end."""

        def run(cancelled: threading.Event) -> None:
            with self._writing:
                self._begin(cancelled)
                if cancelled.is_set():
                    self._connection.execute("ROLLBACK")

        try:
            await self._in_thread(run, self._write_threads)
        except BaseException:
            # The thread may have begun it just before the caller was cancelled.
            await self.end(commit=False)
            raise

    async def step(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call within the transaction that was begun."""

        def run(cancelled: threading.Event) -> T:
            with self._writing:
                if cancelled.is_set() or not self._connection.in_transaction:
                    raise CallerCancelled
                return call(self._connection)

        return await self._in_thread(run, self._write_threads)

    async def end(self, *, commit: bool) -> None:
        """Commit or roll back; done even if the caller is cancelled."""

        def run(_: threading.Event) -> None:
            with self._writing:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT" if commit else "ROLLBACK")

        with anyio.CancelScope(shield=True):
            await self._in_thread(run, self._write_threads)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            raise errors.Closed("The database")
        return self._writer

    def _begin(self, cancelled: threading.Event) -> sqlite3.Connection:
        if self._connection.in_transaction:  # one whose end has failed
            self._connection.execute("ROLLBACK")
        self._retry_while_locked(lambda: self._connection.execute("BEGIN IMMEDIATE"), cancelled)
        return self._connection

    def _connect(self, cancelled: threading.Event) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            self._retry_while_locked(lambda: connection.execute("PRAGMA journal_mode=WAL"), cancelled)
            connection.execute("PRAGMA synchronous=NORMAL")
            register_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _whole(self, call: Callable[[sqlite3.Connection], T], cancelled: threading.Event) -> T:
        with self._writing:
            connection = self._begin(cancelled)
            try:
                result = call(connection)
                if cancelled.is_set():
                    raise CallerCancelled
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    def _retry_while_locked(self, call: Callable[[], T], cancelled: threading.Event) -> T:
        """Repeat a call while another process holds a lock; SQLite's own busy handler polls in longer steps."""
        until = time.monotonic() + self._deadline
        longest = 0.001
        while True:
            if cancelled.is_set():
                raise CallerCancelled
            try:
                return call()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0, longest))
            longest = min(longest * 1.5, 0.02)

    async def _in_thread(self, call: Callable[[threading.Event], T], threads: Threads) -> T:
        try:
            return await threads.run(call)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> errors.PersistenceError:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
            return errors.TransactionConflict(f"Another writer changed {self._path} meanwhile.")
        if code & 0xFF in _BUSY:
            return errors.DeadlineExceeded(f"{self._path} was locked for more than {self._deadline:g} s.", hint=_HELD)
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return errors.StorageFull(f"There is no room left for {self._path}.", hint="Free space, then repeat.")
        if code & 0xFF in _REFUSED:
            return errors.CredentialsRefused(f"{self._path} may not be written: {error}.", hint="See its permissions.")
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
            return errors.Unreachable(f"{self._path} cannot be opened: {error}.", hint=_NOT_OPENED)
        return errors.ServiceFailed(f"SQLite failed on {self._path}: {error}.")
