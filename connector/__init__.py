"""Structured-concurrency transfer engine for Crypt4GH-encrypted files.

The public names of the library. They are loaded when first used, so that the command line starts quickly::

    import trio
    from pathlib import Path
    import connector

    async def main() -> None:
        keys = connector.KeyPair.of(connector.read_private_key(Path("my.sec"), lambda: passphrase))
        token = connector.AccessToken.parse(token_text)
        settings = connector.Settings(wkvs_url="https://archive.example/.well-known")
        async with connector.open_session(settings, keys, token) as session:
            for outcome in await session.download(output_dir=Path("."), decrypt=True):
                print(outcome.label, outcome.error or outcome.value.path)

    trio.run(main)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.config import Settings, load_settings
    from connector.crypt4gh.keys import KeyPair
    from connector.download import DownloadedFile
    from connector.errors import (
        BrokenError,
        ConnectorError,
        FileExistsAlready,
        IntegrityError,
        LocalError,
        RefusedError,
        UsageError,
    )
    from connector.local.key_files import read_private_key, read_public_key, write_key_pair
    from connector.recrypt import RecryptedFile, RecryptRequest
    from connector.session import Session, decrypt_files, encrypt_files, open_session
    from connector.transfer import Observer, Outcome, SilentObserver
    from connector.upload import UploadedFile, UploadSource
    from connector.wire.tokens import AccessToken

_LAZY_IMPORTS = {
    "connector.session": ("Session", "decrypt_files", "encrypt_files", "open_session"),
    "connector.wire.tokens": ("AccessToken",),
    "connector.config": ("Settings", "load_settings"),
    "connector.download": ("DownloadedFile",),
    "connector.errors": (
        "BrokenError",
        "ConnectorError",
        "FileExistsAlready",
        "IntegrityError",
        "LocalError",
        "RefusedError",
        "UsageError",
    ),
    "connector.crypt4gh.keys": ("KeyPair",),
    "connector.local.key_files": ("read_private_key", "read_public_key", "write_key_pair"),
    "connector.recrypt": ("RecryptRequest", "RecryptedFile"),
    "connector.transfer": ("Observer", "Outcome", "SilentObserver"),
    "connector.upload": ("UploadSource", "UploadedFile"),
}
_MODULE_OF = {name: home for home, names in _LAZY_IMPORTS.items() for name in names}

__all__ = [
    "AccessToken",
    "BrokenError",
    "ConnectorError",
    "DownloadedFile",
    "FileExistsAlready",
    "IntegrityError",
    "KeyPair",
    "LocalError",
    "Observer",
    "Outcome",
    "RecryptRequest",
    "RecryptedFile",
    "RefusedError",
    "Session",
    "Settings",
    "SilentObserver",
    "UploadSource",
    "UploadedFile",
    "UsageError",
    "decrypt_files",
    "encrypt_files",
    "load_settings",
    "open_session",
    "read_private_key",
    "read_public_key",
    "write_key_pair",
]


def __getattr__(name: str) -> Any:
    try:
        home = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
