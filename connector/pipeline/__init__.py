"""Whole jobs in one call, for code that is not written for trio: from plain code, under asyncio, or under trio."""

from __future__ import annotations

from typing import Final

from connector.pipeline import jobs
from connector.pipeline.bridge import awaitable, blocking
from connector.pipeline.progress import FileProgress

__all__ = [
    "FileProgress",
    "decrypt_files",
    "decrypt_files_async",
    "download_files",
    "download_files_async",
    "encrypt_files",
    "encrypt_files_async",
    "upload_files",
    "upload_files_async",
]

download_files: Final = blocking(jobs.download_files)
download_files_async: Final = awaitable(jobs.download_files)
upload_files: Final = blocking(jobs.upload_files)
upload_files_async: Final = awaitable(jobs.upload_files)
decrypt_files: Final = blocking(jobs.decrypt_files)
decrypt_files_async: Final = awaitable(jobs.decrypt_files)
encrypt_files: Final = blocking(jobs.encrypt_files)
encrypt_files_async: Final = awaitable(jobs.encrypt_files)
