"""Objects on an S3 server (needs the extra `s3`)."""

from persistence.objects.s3.settings import S3Settings
from persistence.objects.s3.storage import S3Storage

__all__ = ["S3Settings", "S3Storage"]
