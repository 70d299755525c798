"""Uploads: from a local file to the archive."""

from connector.upload.context import UploadBox, UploadContext, UploadedFile
from connector.upload.job import Upload, upload_all
from connector.upload.journals import UploadSource, check_sources

__all__ = ["Upload", "UploadBox", "UploadContext", "UploadSource", "UploadedFile", "check_sources", "upload_all"]
