"""The files of one command, encrypted or decrypted on this machine, without importing anything of the network."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path

from connector.config import Settings
from connector.local.files import planned_files
from connector.local.state_folder import FinishedFiles, StateFolder
from connector.local.targets import collision_key
from connector.recrypt.job import Recryption, Transformation
from connector.recrypt.request import RecryptedFile, RecryptRequest
from connector.recrypt.transformations import Decryption, Encryption
from connector.transfer import (
    BufferPool,
    ConcurrencyLimit,
    GuardedObserver,
    Observer,
    Outcome,
    Retrier,
    RunContext,
    Scheduler,
    SilentObserver,
)

_MOST_PARTS = 32
"""Parts that are processed at once at most, however many cores there are."""


async def decrypt_files(
    settings: Settings,
    private_key: bytes,
    requests: Sequence[RecryptRequest],
    *,
    more_private_keys: Sequence[bytes] = (),
    overwrite: bool = False,
    observer: Observer | None = None,
    state_folder: Path | None = None,
) -> list[Outcome[RecryptedFile]]:
    """Decrypt local Crypt4GH files with `private_key` or any of `more_private_keys`.

    The outcomes come in the order of the requests. A result that exists already, of the right size, is not written
    again: see `already_there` of its outcome's value. For one that was made from another file or state of it, the
    outcome is a `FileExistsAlready`, unless `overwrite` is given; then all are replaced but those that an earlier run
    made from the same file and that are unchanged since. The records of earlier runs are in `state_folder`, by default
    the user's.
    """
    return await _recrypt(
        settings, requests, lambda: Decryption([private_key, *more_private_keys]), overwrite, observer, state_folder
    )


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
    run = RunContext(observer=observer, part_size=settings.part_size)
    # One part per core, and one more that waits for the disk.
    at_once = settings.max_concurrency or min((os.cpu_count() or 2) + 1, _MOST_PARTS)
    scheduler = Scheduler(
        pool=BufferPool(settings.memory),
        limit=ConcurrencyLimit.fixed(at_once),
        retrier=Retrier(attempts=1),
        observer=observer,
    )
    with closing(scheduler):
        files = [(label, request.path) for label, request in zip(labels, requests, strict=True)]
        observer.planned(await run.in_thread(planned_files, files))
        return await scheduler.run(
            Recryption(
                request, transformation(), run, overwrite=overwrite, finished=finished, label=label, similar=similar
            )
            for label, request, similar in zip(labels, requests, _similar(requests), strict=True)
        )


def _labels(requests: Sequence[RecryptRequest]) -> list[str]:
    """The label of each file: its name, or its path if another one has the same name."""
    names = Counter(request.path.name for request in requests)
    return [request.path.name if names[request.path.name] == 1 else str(request.path) for request in requests]


def _similar(requests: Sequence[RecryptRequest]) -> list[list[RecryptRequest]]:
    """The other requests for each whose target has the same name but for case or Unicode form."""
    groups: dict[tuple[Path, str], list[RecryptRequest]] = defaultdict(list)
    keys = [(request.target.parent, collision_key(request.target.name)) for request in requests]
    for key, request in zip(keys, requests, strict=True):
        groups[key].append(request)
    return [
        [other for other in groups[key] if other.target != request.target]
        for key, request in zip(keys, requests, strict=True)
    ]
