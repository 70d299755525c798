"""Downloads: from the archive to a local file."""

from connector.download.job import Download, download_all
from connector.download.request import DownloadContext, DownloadedFile, DownloadRequest, DownloadTokens, check_targets

__all__ = [
    "Download",
    "DownloadContext",
    "DownloadRequest",
    "DownloadTokens",
    "DownloadedFile",
    "check_targets",
    "download_all",
]
