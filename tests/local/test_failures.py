"""What the operating system says, as one sentence with a way out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from connector.errors import LocalError, UsageError
from connector.local.disk import local_failures


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "read-only"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "disk"),
        (errno.ESTALE, "same command"),
    ],
)
def test_each_trouble_comes_with_advice(number: int, advice: str) -> None:
    with pytest.raises(LocalError) as caught:
        with local_failures("write", Path("/data/x")):
            raise OSError(number, os.strerror(number), "/data/x")
    assert caught.value.message == f"Could not write /data/x: {os.strerror(number)}."
    assert advice in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)


def test_trouble_without_a_number_is_told_too() -> None:
    with pytest.raises(LocalError, match="x: TimeoutError"):
        with local_failures("read", "x"):
            raise TimeoutError


def test_other_errors_pass() -> None:
    with pytest.raises(UsageError):
        with local_failures("read", "x"):
            raise UsageError("mine")
    with pytest.raises(ValueError, match="a bug"):
        with local_failures("read", "x"):
            raise ValueError("a bug")
