"""Indexes of a collection: how MongoDB makes them, and what it tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import bson
from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.mongodb.decoding import CODEC_OPTIONS
from persistence.documents.mongodb.filters import Filters


class CollectionIndexes:
    """The indexes that one collection is to have.

    Args:
        filters: translates the collection's terms.
        indexes: as resolved for the model.
    """

    def __init__(self, filters: Filters, indexes: Sequence[IndexSpec]) -> None:
        self._conditions = {
            spec.name: None if spec.condition is None else filters.filter(spec.condition) for spec in indexes
        }
        self._wanted = [
            attrs.evolve(spec, keys=tuple(filters.sort(spec.keys)), condition=_comparable(self._conditions[spec.name]))
            for spec in indexes
        ]

    async def create(self, stored: AsyncCollection[dict[str, Any]]) -> None:
        """Make those that do not exist; `InvalidQuery` if some that exist contradict them."""
        if not self._wanted:
            return
        existing = [_described(entry) async for entry in await stored.list_indexes()]
        if missing := missing_indexes(existing, self._wanted):
            await stored.create_indexes(list(map(self._model, missing)))

    def _model(self, spec: IndexSpec) -> IndexModel:
        options: dict[str, Any] = {"name": spec.name, "unique": spec.unique}
        if self._conditions[spec.name] is not None:
            options["partialFilterExpression"] = self._conditions[spec.name]
        if spec.expire_after is not None:
            options["expireAfterSeconds"] = spec.expire_after
        # Ending with the id, it gives the whole order of a sorted query.
        ends_with_id = not spec.unique and spec.expire_after is None and "_id" not in spec.fields
        return IndexModel([*spec.keys, *([("_id", 1)] if ends_with_id else [])], **options)


def _described(entry: Mapping[str, Any]) -> IndexSpec:
    keys = tuple((field, direction) for field, direction in entry["key"].items())
    unique = bool(entry.get("unique"))
    if not unique and len(keys) > 1 and keys[-1] == ("_id", 1):
        keys = keys[:-1]
    condition = entry.get("partialFilterExpression")
    return IndexSpec(
        entry["name"],
        keys,
        unique,
        "sparse" if entry.get("sparse") else _comparable(condition),
        entry.get("expireAfterSeconds"),
    )


def _comparable(condition: Mapping[str, Any] | None) -> bytes | None:
    """The condition as BSON: MongoDB tells it with other types of Python than it was given with."""
    return None if condition is None else bson.encode(condition, codec_options=CODEC_OPTIONS)
