"""Runs commands with a fault at one of their calls into the system, each in a process of its own.

A profile function sees every call of a C function before it is made, and may raise instead of it. So a call site is
found without a list, and a fault needs no replacement of the function. The processes are forked from one that has
everything imported, since importing takes longer than all that a command does.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
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
    for name in ("_socket", "_highlevel_open_tcp_stream", "_threads", "_path", "_core/_thread_cache")
)
"""Modules of libraries that call the system for us: what fails there fails for us."""
_MODULES = frozenset({"posix", "_io", "io", "_socket", "socket", "_ssl", "ssl", "_sqlite3", "sqlite3", "mmap", "fcntl"})
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
    | {
        "reconfigure",
        "text_encoding",
        "htons",
        "ntohs",
        "inet_pton",
        "inet_ntop",
        "WIFEXITED",
        "cpu_count",
        "urandom",
        "__enter__",
        "__exit__",
    }
)
SECONDS = 30

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
FAULTS: Mapping[str, Callable[[], BaseException]] = {
    **{
        name: (lambda name=name: OSError(getattr(errno, name), os.strerror(getattr(errno, name)))) for name in OS_FAULTS
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
        if self.call.rpartition(".")[2] in _NAMED:
            found.append("UnicodeError")
        if "getaddrinfo" in self.call:
            found.append("resolution")
        return found


def site_of(frame: FrameType, function: Any) -> Site | None:
    """The site of a call, `None` for one that does not leave the process, or does so on behalf of a library."""
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
    if name in _PURE or not (owner in _MODULES or (owner == "_thread" and name in _THREADS)):
        return None
    inner: FrameType | None = frame
    while inner is not None:
        file = inner.f_code.co_filename
        if file.startswith(OURS):
            return Site(file.removeprefix(f"{ROOT}/"), inner.f_lineno, f"{owner}.{name}")
        if not _is_transparent(inner.f_code):
            return None
        inner = inner.f_back
    return Site("a thread", 0, f"{owner}.{name}") if threading.current_thread() is not threading.main_thread() else None


def _is_transparent(code: CodeType) -> bool:
    file = code.co_filename
    if file.startswith("<frozen importlib") or "/importlib/" in file or "/logging/" in file:
        return False
    return file in _CARRIERS or file.startswith("<frozen") or (
        file.startswith(_LIBRARY) and not file.startswith(_PACKAGES)
    )  # fmt: skip


@attrs.frozen
class Ended:
    """How a command ended; `code` is `None` if it had to be killed."""

    code: int | None
    out: str
    err: str
    sites: frozenset[Site] = frozenset()
    raised: bool = False


def run(
    arguments: Sequence[object], environment: Mapping[str, str], folder: Path, fault: tuple[Site, str] | None
) -> Ended:
    """Run a command in a child of this process, with `fault` at the first call of its site, and watch its calls."""
    streams = [folder / f".{name}" for name in ("out", "err", "sites")]
    child = os.fork()
    if not child:
        code = 1
        try:
            code = _in_child(list(map(str, arguments)), environment, folder, streams, fault)
        finally:
            os._exit(code)
    status = _wait(child)
    out, err, seen = (path.read_text(errors="replace") if path.exists() else "" for path in streams)
    for path in streams:
        path.unlink(missing_ok=True)
    lines = [line.split("\t") for line in seen.splitlines()]
    sites = frozenset(Site(file, int(line), call) for file, line, call in lines if file != "raised")
    return Ended(status, out, err, sites, raised=["raised", "0", ""] in lines)


def _wait(child: int) -> int | None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _in_child(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    streams: list[Path],
    fault: tuple[Site, str] | None,
) -> int:
    from connector.cli import main

    report = os.open(streams[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, path in ((1, streams[0]), (2, streams[1])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate("rww"))
    sys.argv = ["connector", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    seen: set[Site] = set()
    raised: list[Site] = []

    def watch(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or raised:
            return
        site = site_of(frame, function)
        if site is None:
            return
        seen.add(site)
        if fault is not None and site == fault[0]:
            raised.append(site)
            raise FAULTS[fault[1]]()

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        lines = [f"{site.file}\t{site.line}\t{site.call}\n" for site in list(seen)] + ["raised\t0\t\n"] * bool(raised)
        os.write(report, "".join(lines).encode())
    return 0
