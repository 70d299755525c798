"""Encrypts and decrypts local files, without importing anything of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from connector.config import Settings
from connector.local.finished import FinishedFiles
from connector.local.state_folder import StateFolder
from connector.recrypt import Decryption, Encryption, RecryptedFile, Recryption, RecryptRequest, Transformation
from connector.session.engine import local_limit, make_threads, open_scheduler, planned_files
from connector.transfer import GuardedObserver, Observer, Outcome, Retrier, RunContext, SilentObserver


async def decrypt_files(
    settings: Settings,
    private_key: bytes,
    requests: Sequence[RecryptRequest],
    *,
    overwrite: bool = False,
    observer: Observer | None = None,
    state_folder: Path | None = None,
) -> list[Outcome[RecryptedFile]]:
    """Decrypt local Crypt4GH files. The outcomes come in the order of the requests.

    A result that exists already, of the right size, is not written again: see `already_there` of its outcome's value.
    For one that was made from another file or state of it, the outcome is a `FileExistsAlready`, unless `overwrite` is
    given; then all are replaced but those that an earlier run made from the same file and that are unchanged since. The
    records of earlier runs are in `state_folder`, by default the user's.
    """
    return await _recrypt(settings, requests, lambda: Decryption(private_key), overwrite, observer, state_folder)


async def encrypt_files(
    settings: Settings,
    private_key: bytes,
    recipients: Sequence[bytes],
    requests: Sequence[RecryptRequest],
    *,
    overwrite: bool = False,
    observer: Observer | None = None,
    state_folder: Path | None = None,
) -> list[Outcome[RecryptedFile]]:
    """Encrypt local files for `recipients` (public keys). The outcomes come in the order of the requests.

    Results that are there already are treated as `decrypt_files` does.
    """
    return await _recrypt(
        settings, requests, lambda: Encryption(private_key, recipients), overwrite, observer, state_folder
    )


async def _recrypt(
    settings: Settings,
    requests: Sequence[RecryptRequest],
    transformation: Callable[[], Transformation],
    overwrite: bool,
    observer: Observer | None,
    state_folder: Path | None,
) -> list[Outcome[RecryptedFile]]:
    finished = cache(partial(FinishedFiles.read, StateFolder(state_folder).finished))
    observer = GuardedObserver.of(observer or SilentObserver())
    labels = _labels(requests)
    run = RunContext(threads=make_threads(), observer=observer, part_size=settings.part_size)
    with open_scheduler(settings, Retrier(attempts=1), observer, local_limit()) as scheduler:
        files = [(label, request.path) for label, request in zip(labels, requests, strict=True)]
        observer.planned(await run.in_thread(planned_files, files))
        return await scheduler.run(
            Recryption(
                request,
                transformation(),
                run,
                overwrite=overwrite,
                finished=finished,
                label=label,
            )
            for label, request in zip(labels, requests, strict=True)
        )


def _labels(requests: Sequence[RecryptRequest]) -> list[str]:
    """The label of each file: its name, or its path if another one has the same name."""
    names = Counter(request.path.name for request in requests)
    return [request.path.name if names[request.path.name] == 1 else str(request.path) for request in requests]
