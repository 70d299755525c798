"""Plain commands of MongoDB, where PyMongo's own ways cost more than the call itself."""

from __future__ import annotations

from typing import Any

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import WriteConcernError

from persistence.providers.mongodb.lane import Stored


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


def insert_command(stored: AsyncCollection[Any], document: dict[str, Any]) -> dict[str, Any]:
    """An insert of one document, which the database will not recognize when it is sent again."""
    command: dict[str, Any] = {"insert": stored.name, "documents": [document]}
    if stored.write_concern.document:
        command["writeConcern"] = stored.write_concern.document
    return command


def run(stored: Stored, command: dict[str, Any]) -> dict[str, Any]:
    """The answer of the primary to a write, by the blocking client; `WriteConcernError` if it is not safe."""
    reply: dict[str, Any] = stored.database.command(command, codec_options=stored.codec_options)
    if "writeConcernError" in reply:
        unsafe = reply["writeConcernError"]
        raise WriteConcernError(unsafe.get("errmsg", "not replicated"), unsafe.get("code"), unsafe)
    return reply


def first_batch(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of the answer to such a command."""
    found: list[dict[str, Any]] = answer["cursor"]["firstBatch"]
    return found
