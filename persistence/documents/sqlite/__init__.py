"""Documents in one SQLite file, shared by any number of processes."""

from persistence.documents.sqlite.database import SqliteDaoFactory

__all__ = ["SqliteDaoFactory"]
