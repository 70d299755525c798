"""Structured-concurrency transfer engine for Crypt4GH-encrypted files.

The public names of the library. They are loaded when first used, so that the command line starts quickly::

    import connector

    for outcome in connector.download_files(
        output_dir="data",
        decrypt=True,
        token=token,
        private_key="my.sec",
        wkvs_url="https://archive.example/.well-known",
    ):
        print(outcome.label, outcome.error or outcome.value.path)

`download_files`, `upload_files`, `decrypt_files` and `encrypt_files` block; `await download_files_async(...)` and its
like run under asyncio and trio. `open_session` gives code that is written for trio the whole session.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Type checkers read the same names in __init__.pyi; a test compares the two.
_PUBLIC_NAMES = {
    "connector.clients.api_client": "ApiClient CachedValue Expiring WorkOrderToken",
    "connector.clients.downloads": "DownloadClient",
    "connector.clients.api_transport": "ApiTransport",
    "connector.clients.objects": "ObjectClient",
    "connector.clients.uploads": "UploadClient",
    "connector.clients.work_packages": "AccessToken WorkPackageClient",
    "connector.config": "Settings load_settings",
    "connector.crypt4gh.keys": "KeyPair",
    "connector.download": "Download DownloadContext DownloadRequest DownloadTokens DownloadedFile",
    "connector.errors": (
        "BrokenError ConnectorError FileExistsAlready IntegrityError LocalError RefusedError RetryPolicy UsageError"
    ),
    "connector.http": "AddressPolicy",
    "connector.local.state_folder": "FinishedFiles",
    "connector.local.key_files": "read_private_key read_public_key write_key_pair",
    "connector.parts": "Part Parts",
    "connector.pipeline": (
        "FileProgress decrypt_files decrypt_files_async download_files download_files_async "
        "encrypt_files encrypt_files_async upload_files upload_files_async"
    ),
    "connector.recrypt": "RecryptRequest RecryptedFile",
    "connector.session": "Components Session open_session",
    "connector.transfer": (
        "Backoff BufferPool ConcurrencyLimit NotReadyError Observer Outcome OverloadedError Progress "
        "Retrier RunContext Scheduler SilentObserver Transfer"
    ),
    "connector.upload": "UploadSource UploadedFile",
    "connector.upload.listing": "ListedFile",
    "connector.upload.plan": "PlannedUpload",
}

__all__ = sorted(" ".join(_PUBLIC_NAMES.values()).split())


def __getattr__(name: str) -> Any:
    for module, names in _PUBLIC_NAMES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
