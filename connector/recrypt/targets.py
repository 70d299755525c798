"""What is to be encrypted or decrypted, and into which files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from connector.errors import UsageError
from connector.local.failures import local_failures
from connector.recrypt.request import RecryptRequest

ENDING = ".c4gh"


def decrypt_targets(files: Sequence[Path], input_dir: Path | None, output_dir: Path | None) -> list[RecryptRequest]:
    """Return what is to be decrypted, and into which file: `NAME.c4gh` becomes `NAME`.

    Without `files`, all `*.c4gh` files of `input_dir` itself. Relative paths are resolved in `input_dir` if given.

    Raises:
        UsageError: When there is nothing to decrypt, for other endings, and when two files would become one.
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
    for path in files:
        if not path.name.endswith(ENDING) or path.name == ENDING:
            raise UsageError(
                f"{path} does not end with {ENDING}, so its decrypted name is not known.",
                hint=f"Rename it to NAME{ENDING}.",
            )
    return _distinct((path, _beside(path, path.name.removesuffix(ENDING), output_dir)) for path in files)


def encrypt_targets(files: Sequence[Path], output_dir: Path | None) -> list[RecryptRequest]:
    """Return what is to be encrypted, and into which file: `NAME` becomes `NAME.c4gh`.

    Raises:
        UsageError: When two files would become one.
    """
    for path in files:
        if not path.name:
            raise UsageError(f"{path} is not a file.", hint="Name files; a folder is not encrypted as a whole.")
    return _distinct((path, _beside(path, path.name + ENDING, output_dir)) for path in files)


def _beside(path: Path, name: str, output_dir: Path | None) -> Path:
    return path.with_name(name) if output_dir is None else output_dir / name


def _distinct(pairs: Iterable[tuple[Path, Path]]) -> list[RecryptRequest]:
    found: dict[Path, RecryptRequest] = {}
    for path, target in pairs:
        if target in found:
            raise UsageError(
                f"{found[target].path} and {path} would both become {target}.",
                hint="Give them different names, or put the results into different folders.",
            )
        found[target] = RecryptRequest(path, target)
    return list(found.values())
