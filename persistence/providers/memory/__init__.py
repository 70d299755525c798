"""Objects and documents in the memory of the process: for tests, and for trying things out."""

from persistence.providers.memory.documents import MemoryDaoFactory
from persistence.providers.memory.storage import MemoryStorage

__all__ = ["MemoryDaoFactory", "MemoryStorage"]
