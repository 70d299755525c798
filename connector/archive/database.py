"""The archive's collections of documents, and transactions over them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import attrs

from connector.archive.models import (
    Box,
    Counter,
    FileUpload,
    Job,
    PartDigests,
    RegisteredFile,
    StoredSecret,
    WorkPackage,
)
from persistence.documents import Dao, DaoFactory, Index, Transaction

T = TypeVar("T")

_KEPT = 30 * 24 * 3600
"""Seconds for which an expired work package stays, so that stewards see what it was."""
_ATTEMPTS = 100
"""After conflicts. A rush of clients on one box conflicts often, and none of them is to be refused for that."""


@attrs.frozen(kw_only=True)
class Database:
    """All collections; inside of `transact` those of the transaction."""

    factory: DaoFactory
    boxes: Dao[Box]
    uploads: Dao[FileUpload]
    digests: Dao[PartDigests]
    files: Dao[RegisteredFile]
    secrets: Dao[StoredSecret]
    packages: Dao[WorkPackage]
    counters: Dao[Counter]
    jobs: Dao[Job]

    async def transact(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """Run `work` with the collections of a transaction and commit; repeat that after a conflict with another."""

        async def bound(transaction: Transaction) -> T:
            return await work(self._bind(transaction))

        return await self.factory.with_transaction(bound, attempts=_ATTEMPTS)

    def _bind(self, transaction: Transaction) -> Self:
        bind = transaction.bind
        return attrs.evolve(
            self,
            boxes=bind(self.boxes),
            uploads=bind(self.uploads),
            digests=bind(self.digests),
            files=bind(self.files),
            secrets=bind(self.secrets),
            packages=bind(self.packages),
            counters=bind(self.counters),
            jobs=bind(self.jobs),
        )


async def open_database(factory: DaoFactory) -> Database:
    """The collections of an open document database, created with their indexes where they are missing."""
    packages = [Index("expires", expire_after=_KEPT)]
    uploads = [Index(("box_id", "alias"), unique=True), Index(("box_id", "created")), Index("state")]
    return Database(
        factory=factory,
        boxes=await factory.dao("boxes", Box, id_field="id"),
        uploads=await factory.dao("uploads", FileUpload, id_field="id", indexes=uploads),
        digests=await factory.dao("digests", PartDigests, id_field="id"),
        files=await factory.dao("files", RegisteredFile, id_field="accession", indexes=[Index("file_id", unique=True)]),
        secrets=await factory.dao("secrets", StoredSecret, id_field="id"),
        packages=await factory.dao("packages", WorkPackage, id_field="id", indexes=packages),
        counters=await factory.dao("counters", Counter, id_field="id"),
        jobs=await factory.dao("jobs", Job, id_field="id", indexes=[Index("due")]),
    )
