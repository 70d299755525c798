"""Documents in MongoDB (needs the extra `mongodb`)."""

from persistence.providers.mongodb.factory import MongoDaoFactory

__all__ = ["MongoDaoFactory"]
