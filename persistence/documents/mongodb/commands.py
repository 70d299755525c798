"""Plain commands of MongoDB, where PyMongo's own ways cost more than the call itself."""

from __future__ import annotations

from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from persistence.documents.mongodb.lane import Stored


def find_command(
    stored: AsyncCollection[Any], where: dict[str, Any], limit: int, sort: list[tuple[str, int]] | None = None
) -> dict[str, Any]:
    """A find of one batch as a plain command: PyMongo's cursor costs more than the call itself."""
    command: dict[str, Any] = {"find": stored.name, "filter": where, "limit": limit, "singleBatch": True}
    if sort:
        command["sort"] = dict(sort)
    if stored.read_concern.level:
        command["readConcern"] = stored.read_concern.document
    return command


def answer(stored: Stored, command: dict[str, Any]) -> list[dict[str, Any]]:
    """What the blocking client finds with such a command."""
    return first_batch(
        stored.database.command(command, read_preference=stored.read_preference, codec_options=stored.codec_options)
    )


def first_batch(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of the answer to such a command."""
    found: list[dict[str, Any]] = answer["cursor"]["firstBatch"]
    return found
