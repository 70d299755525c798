"""Encrypts and decrypts local files, without importing anything of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import trio

from connector.config import Settings
from connector.local.finished import FinishedFiles
from connector.local.pipes import PIPE, PipeReader, PipeWriter
from connector.local.user_folders import StateFolder
from connector.recrypt import Decryption, Encryption, RecryptedFile, Recryption, RecryptRequest, Transformation
from connector.recrypt import decrypt_pipe as decrypted
from connector.recrypt import encrypt_pipe as encrypted
from connector.session.engine import local_limit, make_threads, open_scheduler, planned_files
from connector.transfer import (
    GuardedObserver,
    Observer,
    Outcome,
    Retrier,
    RunContext,
    SilentObserver,
    as_connector_error,
)


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


async def decrypt_pipe(
    private_keys: Sequence[bytes],
    source: PipeReader,
    target: PipeWriter,
    *,
    size: int | None = None,
    observer: Observer | None = None,
) -> Outcome[RecryptedFile]:
    """Decrypt what is read from `source`, of which `size` bytes are expected if that is known, into `target`.

    The plaintext of each segment is authentic when it is written; that all of it is there is known at the end only.
    """
    return await _pump(decrypted(source, target, private_keys), target, size, observer)


async def encrypt_pipe(
    private_key: bytes,
    recipients: Sequence[bytes],
    source: PipeReader,
    target: PipeWriter,
    *,
    size: int | None = None,
    observer: Observer | None = None,
) -> Outcome[RecryptedFile]:
    """Encrypt what is read from `source` for `recipients` into `target`; `size` as for `decrypt_pipe`."""
    return await _pump(encrypted(source, target, private_key, recipients), target, size, observer)


async def _pump(
    pieces: Iterator[int], target: PipeWriter, size: int | None, observer: Observer | None
) -> Outcome[RecryptedFile]:
    observer = GuardedObserver.of(observer or SilentObserver())
    label = str(PIPE)
    observer.planned([(label, size)])
    observer.opened(label, size)
    try:
        # Abandoned when cancelled, since a pipe that another program neither fills nor empties blocks for ever.
        while (count := await trio.to_thread.run_sync(next, pieces, None, abandon_on_cancel=True)) is not None:
            observer.progressed(label, count)
        outcome = Outcome(label, value=RecryptedFile(PIPE, PIPE, target.written))
    except Exception as error:
        outcome = Outcome(label, error=as_connector_error(error))
    outcome = observer.checked(outcome)
    observer.finished(outcome)
    return observer.checked(outcome)


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
