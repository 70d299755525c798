"""Source files, keys and checksums."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from benchmarks.peers import ours
from benchmarks.process import Failed, run

_PIECE = 1 << 20
_HOLE = 16 << 20
_MARK = 8


def make_random_file(path: Path, size: int) -> str:
    """Write ``size`` random bytes and return their sha256 (hex). Every MiB differs, so that order matters."""
    digest = hashlib.sha256()
    block = os.urandom(min(_PIECE, size))
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            head = start.to_bytes(8, "little")
            piece = (head + block)[: min(_PIECE, size - start)]
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def make_sparse_file(path: Path, size: int) -> str:
    """Make a file of holes, for sizes that would fill the disk; its sha256 (hex).

    Only the first bytes of every 16 MiB are there, and differ, so that order matters.
    """
    with path.open("wb") as file:
        file.truncate(size)
        for start in range(0, size - _MARK, _HOLE):
            file.seek(start)
            file.write(start.to_bytes(_MARK, "little"))
    return _sparse_sha256(size)


@functools.cache
def _sparse_sha256(size: int) -> str:
    # From memory: reading the holes takes as long again.
    digest, zeros = hashlib.sha256(), memoryview(bytes(_PIECE))
    for start in range(0, size, _HOLE):
        left = min(_HOLE, size - start)
        if start < size - _MARK:
            digest.update(start.to_bytes(_MARK, "little"))
            left -= _MARK
        while left:
            digest.update(zeros[:left])
            left -= min(left, _PIECE)
    return digest.hexdigest()


def sha256_of(path: Path, *, skip: int = 0) -> str:
    """The sha256 (hex) of a file from byte ``skip`` on."""
    with path.open("rb") as file:
        file.seek(skip)
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str, *, skip: int = 0) -> None:
    """Raise :class:`Failed` unless the file is there with this sha256, then delete it."""
    if not path.is_file():
        raise Failed(f"{path.name} was not written; there are {sorted(p.name for p in path.parent.iterdir())}")
    found = sha256_of(path, skip=skip)
    if found != expected:
        raise Failed(f"{path.name} has the sha256 {found} instead of {expected}")
    path.unlink()


class Keys:
    """A Crypt4GH key pair without passphrase: ``key.sec`` and ``key.pub`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.private = folder / "key.sec"
        self.public = folder / "key.pub"
        if not self.private.exists():
            run([ours(), "keygen", "--nocrypt", "--sk", self.private, "--pk", self.public])
