"""Call sites: places in our code from where the system is called, and the faults that can happen there."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import sqlite3
import sysconfig
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[2]
OURS = (f"{ROOT}/connector/", f"{ROOT}/persistence/")
_LIBRARY = sysconfig.get_path("stdlib")
_PACKAGES = sysconfig.get_path("purelib")
_CARRIERS = tuple(
    f"{_PACKAGES}/trio/{name}.py"
    for name in (
        "_socket",
        "_highlevel_open_tcp_stream",
        "_threads",
        "_path",
        "_core/_thread_cache",
        "_subprocess",
        "_unix_pipes",
    )
)
"""Modules of libraries that call the system for us: what fails there fails for us."""
_MODULES = frozenset(
    {"posix", "_io", "io", "_socket", "socket", "_ssl", "ssl", "_sqlite3", "sqlite3", "mmap", "fcntl", "select"}
    | {"termios", "_posixsubprocess"}
)
_NAMED = frozenset(
    {"open", "stat", "lstat", "mkdir", "rename", "replace", "unlink", "scandir", "listdir", "link", "chmod", "utime"}
    | {"readlink", "pathconf", "statvfs", "access", "rmdir"}
)
"""Functions that encode a name."""
_THREADS = frozenset({"start_new_thread", "start_joinable_thread"})
_PURE = frozenset(
    # What only computes, or does not fail.
    {"fspath", "fsencode", "fsdecode", "StringIO", "BytesIO", "getvalue", "getpid", "getppid", "geteuid", "getuid"}
    | {"fileno", "readable", "writable", "seekable", "isatty", "tell", "_exit", "settimeout", "gettimeout", "umask"}
    | {"reconfigure", "text_encoding", "htons", "ntohs", "inet_pton", "inet_ntop", "WIFEXITED", "cpu_count", "urandom"}
    | {"__enter__", "__exit__"}
)
OS_FAULTS = (
    "ENOSPC",
    "EIO",
    "EACCES",
    "EROFS",
    "EMFILE",
    "ENOMEM",
    "EINTR",
    "ESTALE",
    "ENAMETOOLONG",
    "ENOTSUP",
    "EINVAL",
)
NETWORK_FAULTS = ("ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ENOTCONN", "ENOBUFS")
FAULTS: Mapping[str, Callable[[], BaseException]] = {
    **{
        name: partial(OSError, getattr(errno, name), os.strerror(getattr(errno, name)))
        for name in OS_FAULTS + NETWORK_FAULTS
    },
    "UnicodeError": lambda: UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range(128)"),
    "MemoryError": MemoryError,
    "threads": lambda: RuntimeError("can't start new thread"),
    "resolution": lambda: socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "database": lambda: sqlite3.OperationalError("disk I/O error"),
}


@attrs.frozen(order=True)
class Site:
    """A place in our code, and the C function that is called from there, directly or by the standard library."""

    file: str
    line: int
    call: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.call}"

    def faults(self) -> list[str]:
        """The faults that can happen there."""
        if self.call.rpartition(".")[2] in _THREADS:
            return ["threads", "MemoryError"]
        if "sqlite3" in self.call:
            return [] if self.call.endswith(".close") else ["database", "MemoryError"]  # SQLite's closing never fails
        found = [*OS_FAULTS, "MemoryError"]
        if "socket." in self.call:
            found += NETWORK_FAULTS
        if self.call.rpartition(".")[2] in _NAMED:
            found.append("UnicodeError")
        if "getaddrinfo" in self.call:
            found.append("resolution")
        return found


class WatchedMap(mmap.mmap):
    """A map whose making a profile function sees: calls of classes are no calls of functions."""

    def __new__(cls, *arguments: Any, **options: Any) -> WatchedMap:
        return super().__new__(cls, *arguments, **options)


CONSTRUCTORS = ((socket.socket.__init__.__code__, "socket.socket"), (WatchedMap.__new__.__code__, "mmap.mmap"))


def site_of(frame: FrameType, event: str, function: Any) -> Site | None:
    """The site of a call, `None` for one that does not leave the process, or does so on behalf of a library."""
    inner: FrameType | None = frame
    if event == "c_call":
        name = getattr(function, "__name__", "")
        owner = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
        if name in _PURE or not (owner in _MODULES or (owner == "_thread" and name in _THREADS)):
            return None
        call = f"{owner}.{name}"
    elif event == "call":
        code = frame.f_code
        call = next((call for constructor, call in CONSTRUCTORS if code is constructor), "")
        inner = frame.f_back
    if event not in ("call", "c_call") or not call:
        return None
    while inner is not None:
        file = inner.f_code.co_filename
        if file.startswith(OURS):
            return Site(file.removeprefix(f"{ROOT}/"), inner.f_lineno, call)
        if not _is_transparent(inner.f_code):
            return None
        inner = inner.f_back
    return Site("a thread", 0, call) if threading.current_thread() is not threading.main_thread() else None


def _is_transparent(code: CodeType) -> bool:
    file = code.co_filename
    if file.startswith("<frozen importlib") or "/importlib/" in file or "/logging/" in file:
        return False
    return file in _CARRIERS or file.startswith("<frozen") or (
        file.startswith(_LIBRARY) and not file.startswith(_PACKAGES)
    )  # fmt: skip
