"""Documents: the DAO protocol with its queries, transactions and typed DAOs, and the providers.

The providers are imported from where they are: `persistence.documents.memory`, `persistence.documents.sqlite`
and `persistence.documents.mongodb` (extra `mongodb`).
"""

from persistence.documents.migrations import DryRun, Migration, dry_run, migrate
from persistence.documents.protocol import (
    Dao,
    DaoFactory,
    Id,
    Index,
    Sort,
    SurrogateDao,
    Transaction,
    Where,
)

__all__ = [
    "Dao",
    "DaoFactory",
    "DryRun",
    "Id",
    "Index",
    "Migration",
    "Sort",
    "SurrogateDao",
    "Transaction",
    "Where",
    "dry_run",
    "migrate",
]
