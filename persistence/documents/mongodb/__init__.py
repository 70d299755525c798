"""Documents in MongoDB (needs the extra `mongodb`)."""

from persistence.documents.mongodb.database import MongoDaoFactory
from persistence.documents.mongodb.settings import MongoSettings

__all__ = ["MongoDaoFactory", "MongoSettings"]
