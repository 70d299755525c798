"""From the archive to a local file."""

from connector.download.job import Download, DownloadedFile
from connector.download.staging import StagedObject

__all__ = ["Download", "DownloadedFile", "StagedObject"]
