"""Objects: the storage protocol with names, multipart uploads, signed URLs and a registry, and the providers.

The providers are imported from where they are: `persistence.objects.memory`, `persistence.objects.filesystem`
and `persistence.objects.s3` (extra `s3`).
"""

from persistence.objects.protocol import ObjectStorage
from persistence.objects.registry import StoragePlace, StorageRegistry
from persistence.objects.signing import SignedRequest, UrlSigner
from persistence.objects.values import Buffer, ObjectStat, PartStat, PresignedPost, UploadRef

__all__ = [
    "Buffer",
    "ObjectStat",
    "ObjectStorage",
    "PartStat",
    "PresignedPost",
    "SignedRequest",
    "StoragePlace",
    "StorageRegistry",
    "UploadRef",
    "UrlSigner",
]
