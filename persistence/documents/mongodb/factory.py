"""The MongoDB provider: DAOs over the collections of one database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persistence.documents.factory import ProviderFactory
from persistence.documents.mongodb.database import MongoDatabase


class MongoDaoFactory(ProviderFactory[MongoDatabase]):
    """DAOs over one MongoDB database, through PyMongo's asyncio client.

    Transactions need a replica set (one member is enough). The URI sets the hosts, credentials, `replicaSet`, `tls`,
    `tlsCAFile`, `w`, `readConcernLevel` and `readPreference`.

    Args:
        uri: `mongodb://` or `mongodb+srv://`.
        database: its name.
        deadline: seconds that any one call may take.
        options: further options of `AsyncMongoClient`.
    """

    def __init__(
        self, uri: str, database: str, *, deadline: float = 15.0, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(lambda: MongoDatabase(uri, database, deadline, options or {}))
