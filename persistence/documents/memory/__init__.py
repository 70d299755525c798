"""Documents in memory: for tests, and for what need not outlive the process."""

from persistence.documents.memory.database import MemoryDaoFactory

__all__ = ["MemoryDaoFactory"]
