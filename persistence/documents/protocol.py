"""The names of `persistence.documents`, where modules import them that were written before those had moved."""

from persistence.documents import Dao, DaoFactory, Id, Index, Sort, SurrogateDao, Transaction, Where

__all__ = ["Dao", "DaoFactory", "Id", "Index", "Sort", "SurrogateDao", "Transaction", "Where"]
