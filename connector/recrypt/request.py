"""Requests and results of encrypting and decrypting: which files are written, and whether one is the result already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import attrs

from connector.errors import FileExistsAlready, UsageError
from connector.local.disk import local_failures
from connector.local.files import SourceState
from connector.local.state_folder import FinishedFile
from connector.local.targets import EXISTS_HINT, WORKING_ENDINGS
from connector.transfer import AlreadyThere


@attrs.frozen
class RecryptRequest:
    """A local file and the file to write; `error`: why there is none, if its name is not known."""

    path: Path
    target: Path
    error: UsageError | None = None


@attrs.frozen
class RecryptedFile:
    """A finished file; `size` in bytes; `already_there`: what was compared if it existed already."""

    path: Path
    target: Path
    size: int
    already_there: AlreadyThere | None = None


def origin_of(path: Path, state: SourceState, transformation: str) -> str:
    """A digest of what a result is made from: the source in its present state, and the transformation. Blocks."""
    parts = [transformation, os.path.realpath(path), str(state.size), str(state.mtime_ns)]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def is_recorded(
    target: Path, state: os.stat_result, record: FinishedFile | None, origin: str, *, overwrite: bool
) -> bool:
    """Whether an earlier run recorded that it made `target`, now in this `state`, from the same source.

    Raises:
        FileExistsAlready: If it was made from something else.
    """
    if record is None or not record.is_unchanged(state):
        return False
    if record.origin != origin and not overwrite:
        raise FileExistsAlready(
            f"{target} exists already, and was made from another file, from an earlier state of it or for other keys.",
            hint=EXISTS_HINT,
        )
    return record.origin == origin


def compare(request: RecryptRequest, source: SourceState, result: os.stat_result, size: int) -> AlreadyThere:
    """What was compared to take a file, of which there is no record, for the result: its `size`.

    Raises:
        FileExistsAlready: If it has another size, or if the source was modified later: the result of a changed source
            may have the same size.
    """
    found: str | None = None
    if result.st_size != size:
        found = "is of another size than the result"
    elif result.st_mtime_ns < source.mtime_ns:
        found = f"is older than {request.path}, which may have changed since"
    if found is not None:
        raise FileExistsAlready(f"{request.target} exists already, and {found}.", hint=EXISTS_HINT)
    return "size"


def check_not_shared(request: RecryptRequest, similar: Iterable[RecryptRequest]) -> None:
    """Raise `UsageError` if the target, which exists, is that of another file too, under another name. Blocks.

    Some file systems ignore the case of names, or their Unicode form.
    """
    for other in similar:
        with suppress(OSError):
            if os.path.samefile(other.target, request.target):
                raise _same_target(other, request)


ENDING = ".c4gh"


def decrypt_targets(files: Sequence[Path], input_dir: Path | None, output_dir: Path | None) -> list[RecryptRequest]:
    """Return what is to be decrypted, and into which file: `NAME.c4gh` becomes `NAME`.

    Without `files`, all `*.c4gh` files of `input_dir` itself. Relative paths are resolved in `input_dir` if given.

    A file with another ending fails alone.

    Raises:
        UsageError: When there is nothing to decrypt, when two files would become one, and when one would become
            another.
    """
    if input_dir is not None and not files:
        with local_failures("look into", input_dir):
            files = sorted(path for path in input_dir.iterdir() if path.name.endswith(ENDING) and not path.is_dir())
        if not files:
            raise UsageError(f"There are no {ENDING} files in {input_dir}.", hint="Name the files themselves.")
    elif input_dir is not None:
        files = [input_dir / path for path in files]
    if not files:
        raise UsageError("There is nothing to decrypt.", hint="Name files, or a folder with --input-dir.")
    return _distinct(
        RecryptRequest(path, _beside(path, path.name.removesuffix(ENDING), output_dir))
        if path.name.endswith(ENDING) and path.name != ENDING
        else RecryptRequest(path, path, _unknown_name(path))
        for path in files
    )


def encrypt_targets(files: Sequence[Path], output_dir: Path | None) -> list[RecryptRequest]:
    """Return what is to be encrypted, and into which file: `NAME` becomes `NAME.c4gh`.

    Raises:
        UsageError: When two files would become one, or one would become another.
    """
    return _distinct(
        RecryptRequest(path, _beside(path, path.name + ENDING, output_dir))
        if path.name
        else RecryptRequest(path, path, _no_file(path))
        for path in files
    )


def _unknown_name(path: Path) -> UsageError:
    return UsageError(
        f"{path} does not end with {ENDING}, so its decrypted name is not known.", hint=f"Rename it to NAME{ENDING}."
    )


def _no_file(path: Path) -> UsageError:
    return UsageError(f"{path} is not a file.", hint="Name files; a folder is not encrypted as a whole.")


def _same_target(one: RecryptRequest, other: RecryptRequest) -> UsageError:
    return UsageError(
        f"{one.path} and {other.path} would both become {other.target}.",
        hint="Give them different names, or put the results into different folders.",
    )


def _beside(path: Path, name: str, output_dir: Path | None) -> Path:
    return path.with_name(name) if output_dir is None else output_dir / name


def _distinct(requests: Iterable[RecryptRequest]) -> list[RecryptRequest]:
    """The requests, each once; `UsageError` if two write the same file, or one reads what another writes. Blocks.

    A folder may be named in several ways.
    """
    real_folder = cache(os.path.realpath)

    def place(path: Path) -> tuple[str, str]:
        return real_folder(path.parent), path.name

    every = list(requests)
    found: dict[tuple[str, str], RecryptRequest] = {}
    for request in every:
        if request.error is not None:
            continue
        other = found.setdefault(place(request.target), request)
        if other is not request:
            raise _same_target(other, request)
    for (folder, name), request in found.items():
        for ending in WORKING_ENDINGS:
            if name.endswith(ending) and (folder, name.removesuffix(ending)) in found:
                raise UsageError(
                    f"{request.path} would become {request.target}, which is the name of a file that is written for"
                    f" {found[folder, name.removesuffix(ending)].path}.",
                    hint="Leave one of them out, or put the results into different folders.",
                )
        other = found.get(place(request.path), request)
        if other is not request:
            raise UsageError(
                f"{request.path} is named, and {other.path} would become it.",
                hint="Leave one of them out, or put the results into another folder with --output-dir.",
            )
    return every
