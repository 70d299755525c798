"""Objects on an S3 server (needs the extra `s3`)."""

try:
    from persistence.objects.s3.settings import S3Settings
    from persistence.objects.s3.storage import S3Storage
except ModuleNotFoundError as error:
    hint = "Objects on S3 servers need the extra `s3`: pip install 'crypt4gh-connector[s3]'"
    raise ModuleNotFoundError(f"{error}. {hint}", name=error.name) from error

__all__ = ["S3Settings", "S3Storage"]
