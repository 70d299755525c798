"""Objects on disk, without a server."""

from persistence.providers.filesystem.storage import FilesystemStorage
from persistence.signing import SignedRequest, UrlSigner

__all__ = ["FilesystemStorage", "SignedRequest", "UrlSigner"]
