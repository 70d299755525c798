"""The documents that the memory provider holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs

from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.matching import matches, order_key
from persistence.documents.query import value_at
from persistence.documents.values import Document, Id, normalize
from persistence.errors import UniqueViolation

_SWEEP_EVERY: Final = timedelta(seconds=1)


@attrs.define
class Table:
    """The documents of one collection by id, its indexes, and of each unique one the ids by values."""

    documents: dict[Id, Document] = attrs.field(factory=dict)
    indexes: dict[str, IndexSpec] = attrs.field(factory=dict)
    unique: dict[str, dict[Any, Id]] = attrs.field(factory=dict)
    swept: datetime | None = None

    def copy(self) -> Table:
        """A table that can be changed alone; documents are never changed in place."""
        unique = {name: dict(ids) for name, ids in self.unique.items()}
        return Table(dict(self.documents), dict(self.indexes), unique, self.swept)

    def add_indexes(self, name: str, wanted: Iterable[IndexSpec]) -> None:
        """Keep those of the indexes that are new; `InvalidQuery`, `UniqueViolation`."""
        missing = missing_indexes(self.indexes.values(), wanted)
        unique: dict[str, dict[Any, Id]] = {spec.name: {} for spec in missing if spec.unique}
        for spec in missing:
            for id_, document in self.documents.items() if spec.unique else ():
                if _is_in(spec, document) and unique[spec.name].setdefault(_values(spec, document), id_) != id_:
                    raise UniqueViolation(name, id_, spec.fields)
        self.unique |= unique
        self.indexes |= {spec.name: spec for spec in missing}

    def put(self, name: str, id_: Id, document: Document) -> None:
        """Store a document under its id; `UniqueViolation`."""
        held = [self.indexes[label] for label in self.unique if _is_in(self.indexes[label], document)]
        for spec in held:
            if self.unique[spec.name].get(_values(spec, document), id_) != id_:
                raise UniqueViolation(name, id_, spec.fields)
        self.drop(id_)
        # A copy, since models that were loaded from the document may share its lists and dicts.
        self.documents[id_] = normalize(document)
        for spec in held:
            self.unique[spec.name][_values(spec, document)] = id_

    def drop(self, id_: Id) -> None:
        """Delete a document, if it exists."""
        document = self.documents.pop(id_, None)
        if document is None:
            return
        for label, ids in self.unique.items():
            if _is_in(self.indexes[label], document):
                ids.pop(_values(self.indexes[label], document), None)

    def drop_expired(self, now: datetime) -> None:
        """Delete the documents that have expired, at most once in a second."""
        if self.swept is not None and now - self.swept < _SWEEP_EVERY:
            return
        self.swept = now
        for spec in self.indexes.values():
            if spec.expire_after is not None:
                latest = now - timedelta(seconds=spec.expire_after)
                times = {id_: value_at(document, spec.fields[0]) for id_, document in self.documents.items()}
                for id_, time in times.items():
                    if isinstance(time, datetime) and time < latest:
                        self.drop(id_)


Tables: TypeAlias = dict[str, Table]


class TableCopies(Tables):
    """Copies of tables, each made when it is first used."""

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self._tables = tables

    def __missing__(self, name: str) -> Table:
        self[name] = copy = self._tables[name].copy()
        return copy


def _is_in(spec: IndexSpec, document: Document) -> bool:
    return spec.condition is None or matches(spec.condition, document)


def _values(spec: IndexSpec, document: Document) -> tuple[Any, ...]:
    return tuple(order_key(value_at(document, field)) for field in spec.fields)
