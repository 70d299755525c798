"""The documents that the memory provider holds."""

from __future__ import annotations

from typing import Any

import attrs

from persistence.documents.codec import Document, normalize
from persistence.documents.matching import order_key
from persistence.documents.protocol import Id
from persistence.documents.query import value_at
from persistence.errors import UniqueViolation


@attrs.define
class Table:
    """The documents of one collection by id, and of each unique index the ids by values."""

    documents: dict[Id, Document] = attrs.field(factory=dict)
    unique: dict[tuple[str, ...], dict[Any, Id]] = attrs.field(factory=dict)

    def copy(self) -> Table:
        """A table that can be changed alone; documents are never changed in place."""
        return Table(dict(self.documents), {fields: dict(ids) for fields, ids in self.unique.items()})

    def add_unique(self, name: str, fields: tuple[str, ...]) -> None:
        """Begin to watch over a unique index; `UniqueViolation`."""
        ids: dict[Any, Id] = {}
        for id_, document in self.documents.items():
            if ids.setdefault(_values(fields, document), id_) != id_:
                raise UniqueViolation(name, id_, fields)
        self.unique[fields] = ids

    def put(self, name: str, id_: Id, document: Document) -> None:
        """Store a document under its id; `UniqueViolation`."""
        for fields, ids in self.unique.items():
            if ids.get(_values(fields, document), id_) != id_:
                raise UniqueViolation(name, id_, fields)
        self.drop(id_)
        # A copy, since models that were loaded from the document may share its lists and dicts.
        self.documents[id_] = normalize(document)
        for fields, ids in self.unique.items():
            ids[_values(fields, document)] = id_

    def drop(self, id_: Id) -> bool:
        """Delete a document; whether there was one."""
        document = self.documents.pop(id_, None)
        if document is None:
            return False
        for fields, ids in self.unique.items():
            ids.pop(_values(fields, document), None)
        return True


def _values(fields: tuple[str, ...], document: Document) -> tuple[Any, ...]:
    return tuple(order_key(value_at(document, field)) for field in fields)
