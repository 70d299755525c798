"""The two protocols of this package: object storage and documents."""

from persistence.protocols.dao import (
    Dao,
    DaoFactory,
    Id,
    Index,
    Sort,
    SurrogateDao,
    Transaction,
    Where,
)
from persistence.protocols.object_storage import (
    Buffer,
    ObjectStat,
    ObjectStorage,
    PartStat,
    PresignedPost,
    UploadRef,
)

__all__ = [
    "Buffer",
    "Dao",
    "DaoFactory",
    "Id",
    "Index",
    "ObjectStat",
    "ObjectStorage",
    "PartStat",
    "PresignedPost",
    "Sort",
    "SurrogateDao",
    "Transaction",
    "UploadRef",
    "Where",
]
