"""From the archive to a local file."""

from connector.download.batch import DownloadBatch
from connector.download.job import Download
from connector.download.request import DownloadedFile
from connector.download.staging import StagedObject

__all__ = ["Download", "DownloadBatch", "DownloadedFile", "StagedObject"]
