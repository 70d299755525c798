"""The four jobs over files, from plain arguments: a session, or `connector.recrypt`, does the work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack
from unicodedata import normalize

import trio

from connector.clients.work_packages import AccessToken
from connector.config import Settings, parse_duration
from connector.crypt4gh.keys import KEY_SIZE, KeyPair
from connector.download import DownloadedFile
from connector.errors import UsageError
from connector.local.disk import missing_in, path_of, read_settings, ready_folder
from connector.local.key_files import read_private_key, read_public_key
from connector.pipeline.progress import OnProgress, ProgressReporter
from connector.recrypt import RecryptedFile
from connector.recrypt import decrypt_files as decrypt_all
from connector.recrypt import encrypt_files as encrypt_all
from connector.recrypt.request import decrypt_targets, encrypt_targets
from connector.session import open_session
from connector.transfer import Outcome, SilentObserver
from connector.upload import UploadedFile, UploadSource


class LocalSettings(TypedDict, total=False):
    """Settings of work on local files, see `connector.Settings`; sizes in bytes, or as text such as `16MiB`."""

    part_size: int | str
    max_concurrency: int
    memory: int | str


class ArchiveSettings(LocalSettings, total=False):
    """Those of transfers from and to an archive; times in seconds."""

    wkvs_url: str
    connect_timeout: float
    read_timeout: float
    retries: int
    ca_file: Path | str
    proxy: str


async def download_files(
    accessions: str | Iterable[str] | None = None,
    *,
    output_dir: Path | str,
    token: str,
    private_key: KeyPair | Path | str,
    passphrase: str | None = None,
    decrypt: bool = False,
    overwrite: bool = False,
    verify: bool = True,
    verify_existing: bool = False,
    on_progress: OnProgress | None = None,
    **settings: Unpack[ArchiveSettings],
) -> list[Outcome[DownloadedFile]]:
    """Download files of a work package.

    What `connector download` does: files that exist already are not fetched again, unfinished ones are resumed.

    Args:
        accessions: The files; without it, all files of the work package. Of an empty list, none is downloaded.
        output_dir: The folder for them; it is created if it does not exist.
        token: The access token of the work package.
        private_key: Your Crypt4GH key: the path of its file, or the pair itself.
        passphrase: That of the key file if it has one.
        decrypt: Whether the files are decrypted on the way.
        overwrite: Whether existing files are replaced.
        verify: Whether files that stay encrypted are verified.
        verify_existing: Whether the content of existing files is compared, too.
        on_progress: Called with a `FileProgress`; must be quick.
        settings: As on the command line: values that are not given come from the environment (`CONNECTOR_WKVS_URL`),
            the configuration file or the defaults.

    Returns:
        An outcome for each file in the order of the accessions: a value or an error.

    Raises:
        ConnectorError: What concerns all files; of one of the five families.
    """
    found, keys = await _in_thread(_prepare, settings, ArchiveSettings.__optional_keys__, private_key, passphrase)
    folder = path_of(output_dir)
    await _in_thread(ready_folder, folder)
    wanted = [accessions] if isinstance(accessions, str) else None if accessions is None else list(accessions)
    missing = await _in_thread(missing_in, folder, wanted or [])
    observer, access = _observer(on_progress), AccessToken.parse(token)
    async with open_session(found, keys, access, observer=observer, accessions=missing) as opened:
        outcomes = await opened.download(
            wanted,
            output_dir=folder,
            decrypt=decrypt,
            overwrite=overwrite,
            verify=verify,
            verify_existing=verify_existing,
        )
    if wanted is None:
        return outcomes
    by_name = {normalize("NFC", each.label): each for each in outcomes} | {each.label: each for each in outcomes}
    return [by_name.get(name) or by_name[normalize("NFC", name)] for name in wanted]  # one may be there twice


async def upload_files(
    files: Path | str | UploadSource | Iterable[Path | str | UploadSource],
    *,
    token: str,
    private_key: KeyPair | Path | str,
    passphrase: str | None = None,
    overwrite: bool = False,
    verify_existing: bool = False,
    wait: bool = False,
    wait_timeout: float | str = math.inf,
    on_progress: OnProgress | None = None,
    **settings: Unpack[ArchiveSettings],
) -> list[Outcome[UploadedFile]]:
    """Encrypt files and upload them into the box of a work package.

    What `connector upload` does: files that are in the box already are not sent again, unfinished ones are resumed.

    Args:
        files: Paths, whose names are the aliases in the box, or `UploadSource(path, alias)`.
        token: The access token of the work package.
        private_key: Your Crypt4GH key: the path of its file, or the pair itself.
        passphrase: That of the key file if it has one.
        overwrite: Whether other uploads with these aliases are replaced.
        verify_existing: Whether files are read to compare their content with what earlier runs sent.
        wait: Whether to wait until the archive has checked the files; a rejected one fails with `IntegrityError`.
        wait_timeout: Seconds, or a text such as `2h`, after which a file that is not checked yet fails with
            `BrokenError`.
        on_progress: Called with a `FileProgress`; must be quick.
        settings: As for `download_files`.

    Returns:
        An outcome for each file in the given order: a value or an error.

    Raises:
        ConnectorError: What concerns all files; of one of the five families.
    """
    timeout = _duration("wait_timeout", wait_timeout)  # now, not when all is uploaded
    given = [files] if isinstance(files, str | os.PathLike | UploadSource) else list(files)
    sources = [each if isinstance(each, UploadSource) else _source(path_of(each)) for each in given]
    found, keys = await _in_thread(_prepare, settings, ArchiveSettings.__optional_keys__, private_key, passphrase)
    observer = _observer(on_progress)
    async with open_session(found, keys, AccessToken.parse(token), observer=observer) as opened:
        outcomes = await opened.upload(sources, overwrite=overwrite, verify_existing=verify_existing)
        sent = {each.label: each.value.file_id for each in outcomes if each.value is not None}
        if not wait or not sent:
            return outcomes
        checked = await opened.wait_for(sent, timeout=timeout)
    errors = {each.label: each.error for each in checked if each.error is not None}
    return [Outcome(each.label, error=errors[each.label]) if each.label in errors else each for each in outcomes]


async def decrypt_files(
    files: Path | str | Iterable[Path | str],
    *,
    private_key: KeyPair | Path | str,
    passphrase: str | None = None,
    output_dir: Path | str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    **settings: Unpack[LocalSettings],
) -> list[Outcome[RecryptedFile]]:
    """Decrypt local Crypt4GH files: `NAME.c4gh` becomes `NAME`.

    What `connector decrypt` does: results that exist already are not written again.

    Args:
        files: Their paths.
        private_key: Your Crypt4GH key: the path of its file, or the pair itself.
        passphrase: That of the key file if it has one.
        output_dir: The folder for the results, which is created if it does not exist; by default beside the files.
        overwrite: Whether other files with these names are replaced.
        on_progress: Called with a `FileProgress`; must be quick.
        settings: As for `download_files`, without those of an archive.

    Returns:
        An outcome for each file in the given order: a value or an error.

    Raises:
        ConnectorError: What concerns all files; of one of the five families.
    """
    folder = None if output_dir is None else path_of(output_dir)
    given = _paths(files)
    requests = decrypt_targets(given, None, folder) if given else []
    found, keys = await _in_thread(_prepare, settings, LocalSettings.__optional_keys__, private_key, passphrase)
    if folder is not None:
        await _in_thread(ready_folder, folder)
    observer = _observer(on_progress)
    return await decrypt_all(found, keys.private, requests, overwrite=overwrite, observer=observer)


async def encrypt_files(
    files: Path | str | Iterable[Path | str],
    *,
    recipients: Path | str | bytes | Iterable[Path | str | bytes],
    private_key: KeyPair | Path | str | None = None,
    passphrase: str | None = None,
    output_dir: Path | str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    **settings: Unpack[LocalSettings],
) -> list[Outcome[RecryptedFile]]:
    """Encrypt local files with Crypt4GH: `NAME` becomes `NAME.c4gh`.

    What `connector encrypt` does: results that exist already are not written again.

    Args:
        files: Their paths.
        recipients: Public keys: paths of their files, or 32 bytes each.
        private_key: Your Crypt4GH key: the path of its file, or the pair itself; by default a temporary one.
        passphrase: That of the key file if it has one.
        output_dir: The folder for the results, which is created if it does not exist; by default beside the files.
        overwrite: Whether other files with these names are replaced.
        on_progress: Called with a `FileProgress`; must be quick.
        settings: As for `download_files`, without those of an archive.

    Returns:
        An outcome for each file in the given order: a value or an error.

    Raises:
        ConnectorError: What concerns all files; of one of the five families.
    """
    folder = None if output_dir is None else path_of(output_dir)
    requests = encrypt_targets(_paths(files), folder)
    given = [recipients] if isinstance(recipients, str | os.PathLike | bytes) else list(recipients)
    found, keys = await _in_thread(
        _prepare, settings, LocalSettings.__optional_keys__, private_key or KeyPair.of(os.urandom(KEY_SIZE)), passphrase
    )
    public_keys = [key if isinstance(key, bytes) else await _in_thread(read_public_key, path_of(key)) for key in given]
    if folder is not None:
        await _in_thread(ready_folder, folder)
    observer = _observer(on_progress)
    return await encrypt_all(found, keys.private, public_keys, requests, overwrite=overwrite, observer=observer)


_in_thread = trio.to_thread.run_sync


def _prepare(
    settings: Mapping[str, Any],
    allowed: frozenset[str],
    private_key: KeyPair | Path | str,
    passphrase: str | None,
) -> tuple[Settings, KeyPair]:
    """Read settings and key; blocks. Raises `TypeError` for an unknown setting, as Python does for an argument."""
    unknown = sorted(settings.keys() - allowed)
    if unknown:
        raise TypeError(f"there is no argument or setting {unknown[0]!r} here")

    def given_passphrase() -> str:
        if passphrase is None:
            raise UsageError(f"{private_key} is protected, and no passphrase is given.", hint="Give passphrase=...")
        return passphrase

    found = read_settings(settings, os.environ, name_of=str)
    if isinstance(private_key, KeyPair):
        return found, private_key
    return found, KeyPair.of(read_private_key(path_of(private_key), given_passphrase))


def _duration(name: str, given: float | str) -> float:
    try:
        seconds = parse_duration(given) if isinstance(given, str) else given
        if not seconds > 0:
            raise ValueError(f"{given!r} is not a time span above zero")
    except ValueError as error:
        raise UsageError(f"{name}: {error}.") from None
    return seconds


def _source(path: Path) -> UploadSource:
    return UploadSource(path, path.name)


def _paths(files: Path | str | Iterable[Path | str]) -> list[Path]:
    return [path_of(each) for each in ([files] if isinstance(files, str | os.PathLike) else files)]


def _observer(on_progress: OnProgress | None) -> SilentObserver:
    return SilentObserver() if on_progress is None else ProgressReporter(on_progress, trio.current_time)
