"""Access to the archive with the keys and tokens that the settings name, and matching of uploads in the box."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from connector.cli.run import Invocation
from connector.config import Settings, parse_path
from connector.crypt4gh.keys import KeyPair
from connector.errors import UsageError
from connector.local.key_files import read_private_key, read_public_key
from connector.transfer import Observer

if TYPE_CHECKING:
    from connector.cli.context import Engine
    from connector.session import Session
    from connector.upload.unfinished import AnnouncedUpload, UnfinishedUpload
    from connector.wire.payloads import FileUpload
    from connector.wire.tokens import AccessToken

T = TypeVar("T")


def own_keys(invocation: Invocation) -> KeyPair:
    """Read the private key that the settings name; prompts for its passphrase if it has one.

    Raises:
        UsageError: When no key is named, and when the public key that is named belongs to another one.
    """
    settings = invocation.settings
    if settings.my_private_key_path is None:
        raise UsageError(
            "No private key is given.",
            hint="Give it with --my-private-key-path or CONNECTOR_MY_PRIVATE_KEY_PATH; connector keygen makes one.",
        )
    keys = KeyPair.of(read_private_key(settings.my_private_key_path, invocation.secrets.passphrase))
    if settings.my_public_key_path is not None and read_public_key(settings.my_public_key_path) != keys.public:
        raise UsageError(
            f"{settings.my_public_key_path} is not the public key of {settings.my_private_key_path}.",
            hint="Name the two files of one pair; the public key may also be left out.",
        )
    return keys


def own_private_keys(invocation: Invocation, names: Sequence[str]) -> list[bytes]:
    """Read the private keys of these names, or the one that the settings name; prompts for their passphrases.

    Raises:
        UsageError: As `own_keys`.
    """
    if not names:
        return [own_keys(invocation).private]
    try:
        paths = [parse_path(name) for name in names]
    except ValueError as error:
        raise UsageError(f"--my-private-key-path: {error}.") from None
    pairs = [KeyPair.of(read_private_key(path, partial(invocation.secrets.passphrase, of=path))) for path in paths]
    public = invocation.settings.my_public_key_path
    if public is not None and read_public_key(public) not in [pair.public for pair in pairs]:
        raise UsageError(
            f"{public} is not the public key of {' or '.join(map(str, paths))}.",
            hint="Name the two files of one pair; the public key may also be left out.",
        )
    return [pair.private for pair in pairs]


@attrs.frozen
class Access:
    """All that is needed to open a session: settings, the user's keys and the access token of a work package."""

    engine: Engine
    settings: Settings
    keys: KeyPair
    token: AccessToken

    @classmethod
    def of(cls, invocation: Invocation) -> Access:
        """Read key and token as the command's options say; prompts if necessary."""
        # Here, as encrypt and decrypt need no tokens, and the payloads take long to import.
        from connector.wire.tokens import AccessToken

        keys = own_keys(invocation)
        token = AccessToken.parse(invocation.secrets.access_token())
        return cls(invocation.context.engine(), invocation.settings, keys, token)

    def in_session(
        self, job: Callable[[Session], Awaitable[T]], accessions: Sequence[str] | None = None
    ) -> Callable[[Observer], Awaitable[T]]:
        """Return a function that opens a session, see `open_session`, and runs `job` in it."""

        async def work(observer: Observer) -> T:
            async with self.engine.open_session(
                self.settings, self.keys, self.token, observer=observer, accessions=accessions
            ) as session:
                return await job(session)

        return work


def announced_here(upload: FileUpload, announced: Sequence[AnnouncedUpload]) -> bool:
    """Whether an open upload is, by name and size, one that a run on this machine requested without a response."""
    return any(upload.alias == each.alias and upload.decrypted_size in (None, each.size) for each in announced)


def not_unfinished_here(listed: Sequence[FileUpload], here: Sequence[UnfinishedUpload]) -> list[FileUpload]:
    """The open uploads of a box that are not among this machine's unfinished ones, sorted by alias."""
    known = {upload.file_id for upload in here}
    return sorted((upload for upload in listed if upload.id not in known), key=lambda upload: upload.alias)
