"""Existing uploads in the box: whether the one with an alias is the file. Pure."""

from __future__ import annotations

import shlex

from connector.errors import RefusedError
from connector.local.files import SourceState
from connector.local.state_folder import FinishedFile
from connector.transfer import AlreadyThere
from connector.upload.states import UploadedFile
from connector.wire.payloads import FileUpload

OVERWRITABLE = frozenset({"init", "inbox"})
"""States of an upload that a new one under the same alias replaces if overwriting is asked for."""
COMPLETE = frozenset({"inbox", "interrogated", "awaiting_archival", "archived"})
"""States of an upload that was closed and did not fail."""


def compare(listed: FileUpload | None, state: SourceState, record: FinishedFile | None) -> AlreadyThere | None:
    """What to compare to take the upload in the box for the file in this `state`; `None` if it is another.

    `listed`: the upload in the listing of the box, `None` if the archive refuses to list it. `record`: the record of an
    earlier run that uploaded this source with this alias. `"sha256"`: the file was modified since, so its content has
    to be compared with that of the record.
    """
    if listed is not None:
        if listed.state not in COMPLETE or listed.decrypted_size != state.size:
            return None
        if record is None or record.origin != str(listed.id):
            return "size"
    if record is None or record.size != state.size:
        return None
    return "record" if record.mtime_ns == state.mtime_ns else "sha256"


def uploaded_before(listed: FileUpload | None, state: SourceState, record: FinishedFile | None) -> UploadedFile | None:
    """The upload that the box lists, if it is the file by the record of an earlier run."""
    if listed is None or record is None or compare(listed, state, record) != "record":
        return None
    return UploadedFile(listed.alias, listed.id, state.size, record.sha256, "record")


def alias_taken(alias: str, size: int, listed: FileUpload | None, *, overwrite: bool) -> RefusedError:
    """The error for an upload in the box with `alias` that is not the file, which has `size` bytes.

    `listed`: the upload in the listing of the box, `None` if the archive refuses to list it. `overwrite`: whether it
    was to be replaced.
    """
    name = ("-- " if alias.startswith("-") else "") + shlex.quote(alias)
    if listed is not None and listed.state == "init":
        message = f"An unfinished upload of {alias}, started elsewhere, is in the box."
        hint = "Finish it there, or discard it and run the same command again: connector discard --in-box"
        return _refused(message, f"{hint} {name}")
    replace = "" if overwrite or not (listed is None or listed.state in OVERWRITABLE) else ", replace it (--overwrite)"
    hint = (
        f"Choose another --alias{replace}, or remove what is there and run the same command again: connector rm {name}"
    )
    if listed is None:
        message = f"{alias} is in the box already, and the archive refuses to list the box."
        hint = "Choose another --alias." if overwrite else "Choose another --alias, or replace it (--overwrite)."
    elif overwrite:
        message = f"{alias} is in the box already ({listed.state}), and can no longer be replaced."
    elif listed.decrypted_size == size:
        message = f"{alias} is in the box already ({listed.state}), with other content."
    else:
        message = f"{alias} is in the box already ({listed.state}), with {listed.decrypted_size} bytes, not {size}."
    return _refused(message, hint)


def _refused(message: str, hint: str) -> RefusedError:
    return RefusedError(message, hint=hint, status=409, exception_id="fileUploadAlreadyExists")
