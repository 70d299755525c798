"""Indexes of a collection: how MongoDB makes them, and what it tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import bson
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.mongodb.decoding import CODEC_OPTIONS
from persistence.documents.mongodb.filters import Filters


async def create_indexes(stored: AsyncCollection[dict[str, Any]], id_field: str, indexes: Sequence[IndexSpec]) -> None:
    """Make those of a collection's indexes that do not exist; `InvalidQuery` if some that exist contradict them.

    Args:
        stored: the collection.
        id_field: the field that is stored as `_id`.
        indexes: as resolved for the model.
    """
    if not indexes:
        return
    # No indexed field may hold a list, and a partial index cannot rule one out.
    filters = Filters(id_field, lambda _: False)
    wanted = [
        attrs.evolve(
            spec,
            keys=tuple(filters.sort(spec.keys)),
            condition=None if spec.condition is None else _raw(filters.filter(spec.condition)),
        )
        for spec in indexes
    ]
    # Those with a collation are of no kind made here, and may stand beside one over the same fields.
    existing = [_described(entry) async for entry in await stored.list_indexes() if "collation" not in entry]
    if missing := missing_indexes(existing, wanted):
        await stored.create_indexes(list(map(_index_model, missing)))


def _index_model(spec: IndexSpec) -> IndexModel:
    options: dict[str, Any] = {"name": spec.name, "unique": spec.unique}
    if spec.condition is not None:
        options["partialFilterExpression"] = spec.condition
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
    # `sparse` leaves out documents without the fields, but not those with None in them, so no index made here has it.
    condition = "sparse" if entry.get("sparse") else _raw(entry.get("partialFilterExpression"))
    return IndexSpec(entry["name"], keys, unique, condition, entry.get("expireAfterSeconds"))


def _raw(condition: Mapping[str, Any] | None) -> RawBSONDocument | None:
    """The condition as BSON, which compares: MongoDB returns it with other types of Python than it was given with."""
    return None if condition is None else RawBSONDocument(bson.encode(condition, codec_options=CODEC_OPTIONS))
