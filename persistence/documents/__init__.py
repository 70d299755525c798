"""Documents: DAOs with their queries, transactions and migrations, and the providers.

The providers are imported from where they are: `persistence.documents.memory`, `persistence.documents.sqlite`
and `persistence.documents.mongodb` (extra `mongodb`).
"""

from persistence.documents.dao import Dao, SurrogateDao
from persistence.documents.database import Transaction
from persistence.documents.factory import DaoFactory
from persistence.documents.index import Index
from persistence.documents.migrations import DryRun, Migration, dry_run, migrate
from persistence.documents.query import Sort, Where
from persistence.documents.values import Id

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
