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
from typing import Any

# Type checkers read the same names in __init__.pyi; a test compares the two.
_PUBLIC_NAMES = {
    "connector.clients.api_client": "ApiClient",
    "connector.clients.cached_value": "CachedValue Expiring",
    "connector.clients.downloads": "DownloadClient",
    "connector.clients.api_transport": "ApiTransport",
    "connector.clients.objects": "ObjectClient",
    "connector.clients.uploads": "UploadClient",
    "connector.clients.work_packages": "WorkPackageClient",
    "connector.config": "Settings load_settings",
    "connector.crypt4gh.keys": "KeyPair",
    "connector.download": "Download DownloadContext DownloadRequest DownloadTokens DownloadedFile",
    "connector.errors": (
        "BrokenError ConnectorError FileExistsAlready IntegrityError LocalError RefusedError RetryPolicy UsageError"
    ),
    "connector.http": "AddressPolicy",
    "connector.local.finished": "FinishedFiles",
    "connector.local.key_files": "read_private_key read_public_key write_key_pair",
    "connector.parts": "Part Parts",
    "connector.recrypt": "RecryptRequest RecryptedFile",
    "connector.session": "Components Session decrypt_files encrypt_files open_session",
    "connector.transfer": (
        "Backoff BufferPool ConcurrencyLimit NotReadyError Observer Outcome OverloadedError Progress "
        "Retrier RunContext Scheduler SilentObserver Transfer"
    ),
    "connector.upload": "UploadSource UploadedFile",
    "connector.wire.tokens": "AccessToken WorkOrderToken",
}
_MODULE_OF = {name: module for module, names in _PUBLIC_NAMES.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
