"""Downloads: from the archive to a local file."""

from connector.download.batch import DownloadBatch
from connector.download.job import Download
from connector.download.request import DownloadContext, DownloadedFile, DownloadRequest, DownloadTokens, check_targets

__all__ = [
    "Download",
    "DownloadBatch",
    "DownloadContext",
    "DownloadRequest",
    "DownloadTokens",
    "DownloadedFile",
    "check_targets",
]
