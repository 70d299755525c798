"""Uploads: from a local file to the archive."""

from connector.upload.batch import UploadBatch
from connector.upload.box import UploadBox
from connector.upload.context import UploadContext
from connector.upload.existing import UploadedFile
from connector.upload.job import Upload
from connector.upload.source import UploadSource, check_sources

__all__ = ["Upload", "UploadBatch", "UploadBox", "UploadContext", "UploadSource", "UploadedFile", "check_sources"]
