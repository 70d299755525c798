"""The steps of a demonstration, each with its size and time, in a folder of its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from connector.archive import admin
from connector.archive.assembly import Archive, open_archive
from connector.archive.config import embedded
from connector.cli.commands.demo_archive import ArchiveProcess, serving
from connector.cli.console import amount
from connector.cli.run import Invocation
from connector.clients.work_packages import AccessToken
from connector.crypt4gh.keys import KeyPair
from connector.errors import BrokenError, IntegrityError, LocalError, UsageError
from connector.local.disk import local_failures
from connector.local.key_files import write_key_pair
from connector.local.targets import free_space
from connector.recrypt import RecryptRequest, decrypt_files
from connector.recrypt.request import ENDING
from connector.session import Session
from connector.transfer.reporting import Observer, Outcome
from connector.upload.journals import UploadSource

COPIES = 6
"""Of each file: source, inbox, permanent bucket, download bucket, two downloads and one decrypted; the inbox is empty
by the time of the downloads."""


@contextmanager
def working_folder(keep: Path | None, *, needed: int, on_left: Callable[[str], None]) -> Iterator[Path]:
    """Create a folder with space for `needed` bytes of files in all their copies; it is removed again unless kept.

    `on_left` gets a message if it cannot be removed.

    Raises:
        UsageError: For a folder to keep that holds something already.
        LocalError: When there is too little room.
    """
    if keep is not None:
        with local_failures("use the folder", keep):
            keep.mkdir(parents=True, exist_ok=True)
            if any(keep.iterdir()):
                raise UsageError(f"{keep} is not empty.", hint="Name a new folder.")
        _check_room(keep, needed)
        yield keep.resolve()
        return
    with local_failures("make a folder in", tempfile.gettempdir()):
        folder = Path(tempfile.mkdtemp(prefix="connector-demo-"))
    try:
        _check_room(folder, needed)
        yield folder
    finally:
        _remove(folder, on_left)


def _remove(folder: Path, on_left: Callable[[str], None]) -> None:
    try:
        shutil.rmtree(folder)
    except (OSError, ValueError, MemoryError) as error:
        shutil.rmtree(folder, ignore_errors=True)  # all that can be
        if os.path.lexists(folder):
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            on_left(f"{folder} cannot be removed: {reason}. Remove it yourself.")


def _check_room(folder: Path, needed: int) -> None:
    free = free_space(folder / "archive")
    if free is not None and free < needed * COPIES:
        raise LocalError(
            f"The demonstration needs {amount(needed * COPIES)} in {folder}, and {amount(free)} are free.",
            hint="Choose a smaller --size, or a folder elsewhere with --keep (or TMPDIR).",
        )


PIECE = 4 * 1024 * 1024
POLL_EVERY = 0.1
STEP_TIMEOUT = 120.0
SLOWEST = 2_000_000
"""Seconds, and bytes per second: a step that takes longer than both together counts as stuck."""


@attrs.frozen
class Step:
    """One step: what was done with how many bytes in how many seconds."""

    name: str
    size: int
    seconds: float

    @property
    def rate(self) -> float:
        """Megabytes (10^6 bytes) per second."""
        return self.size / self.seconds / 1e6 if self.seconds else 0.0


class Demonstration:
    """Runs all steps with `count` random files of `size` bytes, below `folder`."""

    def __init__(self, invocation: Invocation, folder: Path, size: int, count: int) -> None:
        self._invocation = invocation
        self._folder = folder
        self._size = size
        self._count = count
        self._steps: list[Step] = []
        self._digests: dict[str, str] = {}
        self._archive: ArchiveProcess | None = None
        self._peak_of_archive = 0

    async def run(self, observer: Observer) -> None:
        """Do all steps; raises the error of the first that fails."""
        folder = self._folder
        for name in ("source", "encrypted", "decrypted-on-the-way", "decrypted-afterwards"):
            (folder / name).mkdir()
        submitter = write_key_pair(folder / "submitter.sec", folder / "submitter.pub", passphrase=None)
        researcher = write_key_pair(folder / "researcher.sec", folder / "researcher.pub", passphrase=None)
        await self._step("generate", self._generate)
        root = folder / "archive"
        async with serving(root, folder / "archive.log") as self._archive:
            async with open_archive(embedded(root)) as archive:
                grant = await admin.grant_upload(archive, submitter.public, title="demonstration")
                await self._step("upload", partial(self._upload, submitter, grant.access_token, observer))
                await self._step("interrogation", partial(self._wait_for_interrogation, archive))
                grant = await admin.grant_download(archive, researcher.public, None)
                for name, target in (("download", "encrypted"), ("download --decrypt", "decrypted-on-the-way")):
                    fetch = partial(self._download, researcher, grant.access_token, folder / target, observer)
                    await self._step(name, fetch)
                await self._step("decrypt", partial(self._decrypt, researcher, observer))
                names = {file["accession"]: file["alias"] for file in await admin.list_files(archive)}
            self._peak_of_archive = _peak_memory(self._archive.process.pid)
        await self._step("compare sha256", partial(self._compare, names), times=2)

    def kill_archive(self) -> None:
        """End the archive at once, without waiting for it."""
        if self._archive is not None:
            self._archive.process.kill()

    def print_table(self) -> None:
        """Print the steps to standard output."""
        console = self._invocation.console
        ours, archive = _peak_memory(os.getpid()), self._peak_of_archive
        if console.as_json:
            for step in self._steps:
                console.record({"step": step.name, "bytes": step.size, "seconds": step.seconds, "mb_per_s": step.rate})
            console.record({"identical": True, "peak_memory": ours, "peak_memory_archive": archive})
            return
        console.result(f"{'step':<20}{'size':>10}{'seconds':>10}{'MB/s':>10}")
        for step in self._steps:
            console.result(f"{step.name:<20}{amount(step.size):>10}{step.seconds:>10.2f}{step.rate:>10.0f}")
        if ours and archive:
            console.result(f"Peak memory: connector {amount(ours)}, archive {amount(archive)}.")
        files = "1 file is" if self._count == 1 else f"{self._count} files are"
        console.result(f"{files} identical after both ways: all bytes are the same.")

    async def _step(self, name: str, work: Callable[[], Awaitable[None]], *, times: int = 1) -> None:
        began = trio.current_time()
        # No step depends on a network or on input: one that takes so long is stuck.
        timeout = STEP_TIMEOUT + self._size * self._count / SLOWEST
        with trio.move_on_after(timeout) as scope:
            await work()
        if scope.cancelled_caught:
            raise BrokenError(f"{name} did not end within {timeout:.0f} seconds.", hint="See archive.log with --keep.")
        step = Step(name, self._size * self._count * times, trio.current_time() - began)
        self._steps.append(step)
        self._invocation.console.info(f"{name}: {amount(step.size)} in {step.seconds:.2f} s")

    async def _generate(self) -> None:
        for number in range(1, self._count + 1):
            path = self._folder / "source" / f"sample-{number:04}.bin"
            self._digests[path.name] = await _in_pieces(_random_pieces(path, self._size))

    async def _upload(self, keys: KeyPair, token: str, observer: Observer) -> None:
        sources = [UploadSource(self._folder / "source" / name, name) for name in self._digests]
        async with self._session(keys, token, observer) as session:
            _unwrap_all(await session.upload(sources, overwrite=False))

    async def _wait_for_interrogation(self, archive: Archive) -> None:
        while True:
            files = await admin.list_files(archive, uploads=True)
            for file in files:
                if file["state"] == "failed":
                    raise IntegrityError(f"The archive refused {file['alias']}: {file.get('failure_reason')}.")
            if sum(file["state"] == "archived" for file in files) == self._count:
                return
            await trio.sleep(POLL_EVERY)

    async def _download(self, keys: KeyPair, token: str, target: Path, observer: Observer) -> None:
        decrypt = target.name != "encrypted"
        async with self._session(keys, token, observer) as session:
            _unwrap_all(await session.download(output_dir=target, decrypt=decrypt, overwrite=False))

    async def _decrypt(self, keys: KeyPair, observer: Observer) -> None:
        folder = self._folder / "decrypted-afterwards"
        requests = [
            RecryptRequest(path, folder / path.name.removesuffix(ENDING))
            for path in sorted((self._folder / "encrypted").iterdir())
        ]
        settings = self._invocation.settings
        _unwrap_all(await decrypt_files(settings, keys.private, requests, overwrite=False, observer=observer))

    async def _compare(self, names: dict[str, str]) -> None:
        for folder in ("decrypted-on-the-way", "decrypted-afterwards"):
            came = {}
            for path in (self._folder / folder).iterdir():
                came[names.get(path.name.partition(".")[0], path.name)] = await _in_pieces(_pieces(path))
            if came != self._digests:
                wrong = sorted(
                    name for name in came.keys() | self._digests if came.get(name) != self._digests.get(name)
                )
                raise IntegrityError(f"{wrong[0]} differs from its source ({folder}).")

    def _session(self, keys: KeyPair, token: str, observer: Observer) -> AbstractAsyncContextManager[Session]:
        assert self._archive is not None
        settings = attrs.evolve(self._invocation.settings, wkvs_url=self._archive.wkvs_url, proxy=None, ca_file=None)
        state = self._folder / "state"  # Not the user's own state folder.
        return self._invocation.context.open_session(
            settings, keys, AccessToken.parse(token), observer=observer, state_folder=state
        )


def _unwrap_all(outcomes: Sequence[Outcome[Any]]) -> None:
    for outcome in outcomes:
        outcome.unwrap()


def _random_pieces(path: Path, size: int) -> Iterable[memoryview]:
    """Write random bytes to a file, piece by piece: a key stream, since the system's generator is far slower."""
    stream = Cipher(ChaCha20(os.urandom(32), bytes(16)), mode=None).encryptor()
    zeros, piece = bytes(PIECE), bytearray(PIECE)
    with path.open("xb", buffering=0) as file:
        for start in range(0, size, PIECE):
            length = min(PIECE, size - start)
            stream.update_into(zeros[:length] if length < PIECE else zeros, piece)
            view = memoryview(piece)[:length]
            file.write(view)
            yield view


def _pieces(path: Path) -> Iterable[memoryview]:
    piece = bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(piece):
            yield memoryview(piece)[:length]


async def _in_pieces(pieces: Iterable[memoryview]) -> str:
    """Return the sha256 of all pieces; each is created and hashed in a thread, so that Ctrl-C is handled in between."""
    digest = hashlib.sha256()
    iterator = iter(pieces)

    def next_one() -> bool:
        for piece in iterator:
            digest.update(piece)
            return True
        return False

    while await trio.to_thread.run_sync(next_one):
        pass
    return digest.hexdigest()


def _peak_memory(process: int) -> int:
    """Return the largest resident size that a process has had, in bytes; 0 where that is not known."""
    # Linux has it per process image, while getrusage may include the program that started this one.
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", status, flags=re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0
