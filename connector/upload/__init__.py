"""Uploads: from a local file to the archive."""

from connector.upload.job import Upload, upload_all
from connector.upload.journals import UploadContext, UploadJournals, UploadSource, check_sources
from connector.upload.states import UploadedFile

__all__ = ["Upload", "UploadContext", "UploadJournals", "UploadSource", "UploadedFile", "check_sources", "upload_all"]
