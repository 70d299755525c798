"""Names of folders and records that no file system folds, forbids or finds too long."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_LONGEST: Final = 200
_WINDOWS_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.ASCII)


def folder_name(bucket: str) -> str:
    """The name of a bucket's folder: `tenant+bucket` for `tenant:bucket`, since Windows forbids colons."""
    return _portable(bucket.replace(":", "+"))


def bucket_of_folder(name: str) -> str:
    """The bucket whose folder has this name."""
    return re.sub("=([a-z])", lambda found: found[1].upper(), name.removeprefix("==")).replace("+", ":")


def _portable(name: str) -> str:
    """The name without capitals, which file systems may fold, and not one of Windows' devices."""
    name = "".join(f"={c.lower()}" if c.isupper() else c for c in name)
    return f"=={name}" if _WINDOWS_DEVICES.fullmatch(name) else name


def file_name(object_id: str) -> str:
    """The name of an object's record: one that no file system folds, forbids or finds too long."""
    name = _portable(object_id)
    if len(name) > _LONGEST:
        name = f"==={hashlib.sha256(object_id.encode()).hexdigest()}"
    return f"{name}.json"
