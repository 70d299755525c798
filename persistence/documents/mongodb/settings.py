"""How to reach a MongoDB database."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import attrs
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options, validate_options

from persistence.errors import InvalidSettings
from persistence.settings import load_settings


@attrs.frozen
class MongoSettings:
    """A MongoDB database; `MongoDaoFactory(settings.uri, settings.database, deadline=settings.deadline)` opens it.

    Attributes:
        uri: `mongodb://` or `mongodb+srv://`, with all that a URI can say: hosts, credentials, `replicaSet`, `tls`.
            It may hold a password, so `repr` leaves it out.
        database: the name of the database.
        deadline: seconds that one call may take.

    Raises:
        InvalidSettings: the URI has another scheme, or an option that does not exist or has no such value; the database
            has no name, or the deadline is not positive.
    """

    uri: str = attrs.field(repr=False)
    database: str
    deadline: float = 15.0

    def __attrs_post_init__(self) -> None:
        if not self.uri.startswith(("mongodb://", "mongodb+srv://")):
            raise InvalidSettings("The uri of the database does not begin with mongodb:// or mongodb+srv://.")
        self._check_options()
        if not self.database:
            raise InvalidSettings("The name of the database is empty.")
        if not self.deadline > 0:
            raise InvalidSettings("The deadline of the database is not a positive number of seconds.")

    def _check_options(self) -> None:
        """PyMongo only warns of what it does not know, and connects without it: `tls=yes` would be without TLS."""
        options = self.uri.partition("?")[2]
        try:
            if options:
                validate_options(split_options(options, validate=False), warn=False)
        except (PyMongoError, ValueError, TypeError) as error:
            raise InvalidSettings(
                f"The uri of the database has an option that cannot be used: {error}".rstrip(".") + "."
            ) from error

    @classmethod
    def load(cls, file: Path | None = None, *, prefix: str = "MONGODB_") -> Self:
        """The settings from the environment (`MONGODB_URI`) and from the table `mongodb` of a TOML file.

        Args:
            file: the TOML file; None means the environment alone, which takes precedence.
            prefix: what the names of the variables begin with.

        Raises:
            InvalidSettings: a setting is missing, unknown or wrong, or the file cannot be read.
        """
        return load_settings(cls, file, prefix=prefix, service="MongoDB", example="uri")
