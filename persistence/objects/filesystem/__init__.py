"""Objects on disk, without a server."""

from persistence.objects.filesystem.storage import FilesystemStorage
from persistence.objects.signing import SignedRequest, UrlSigner

__all__ = ["FilesystemStorage", "SignedRequest", "UrlSigner"]
