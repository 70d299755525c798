"""Keeps a second server off an archive's directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.errors import LocalError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def single_instance_lock(root: Path) -> Iterator[None]:
    """Hold the directory for the length of the block.

    Raises :class:`~connector.errors.LocalError` if another process serves it. Two servers would interrogate every file
    twice and count boxes wrongly. File systems without locks (some for clusters) give no protection, and no error.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(root / "serving.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalError(f"The archive's directory {root} cannot be used: {error.strerror}.") from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(
                    f"The archive in {root} is being served already.",
                    hint="Stop the other server first, or choose another --root.",
                ) from error
            except OSError:
                pass
        yield
    finally:
        os.close(descriptor)
