"""Documents in one SQLite file, shared by any number of processes."""

from persistence.documents.sqlite.factory import SqliteDaoFactory

__all__ = ["SqliteDaoFactory"]
