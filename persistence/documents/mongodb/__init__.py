"""Documents in MongoDB (needs the extra `mongodb`)."""

from persistence.documents.mongodb.factory import MongoDaoFactory

__all__ = ["MongoDaoFactory"]
