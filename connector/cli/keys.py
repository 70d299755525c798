"""The user's own key pair, as commands find it through the settings."""

from __future__ import annotations

from connector.cli.run import Invocation
from connector.crypt4gh.keys import KeyPair
from connector.errors import UsageError
from connector.local.key_files import read_private_key, read_public_key


def own_keys(invocation: Invocation) -> KeyPair:
    """Read the private key that the settings name, asking for its passphrase if it has one.

    Raises :class:`UsageError` when no key is named, and when the public key that is named belongs to another one.
    """
    settings = invocation.settings
    if settings.my_private_key_path is None:
        raise UsageError(
            "Your private key is needed and none is named.",
            hint="Give it with --my-private-key-path or CONNECTOR_MY_PRIVATE_KEY_PATH; connector keygen makes one.",
        )
    keys = KeyPair.of(read_private_key(settings.my_private_key_path, invocation.secrets.passphrase))
    if settings.my_public_key_path is not None and read_public_key(settings.my_public_key_path) != keys.public:
        raise UsageError(
            f"{settings.my_public_key_path} is not the public key of {settings.my_private_key_path}.",
            hint="Name the two files of one pair; the public key may also be left out.",
        )
    return keys
