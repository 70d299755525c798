"""Documents in MongoDB (needs the extra `mongodb`)."""

try:
    from persistence.documents.mongodb.database import MongoDaoFactory
    from persistence.documents.mongodb.settings import MongoSettings
except ModuleNotFoundError as error:
    hint = "Documents in MongoDB need the extra `mongodb`: pip install 'crypt4gh-connector[mongodb]'"
    raise ModuleNotFoundError(f"{error}. {hint}", name=error.name) from error

__all__ = ["MongoDaoFactory", "MongoSettings"]
