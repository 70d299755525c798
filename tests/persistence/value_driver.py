"""Stores and reads values of many kinds: python value_driver.py hexkit|persistence write|read

MONGO_DSN and DB_NAME name the database.
Prints, as JSON, what came of each kind: for `write` "stored" or "refused"; for `read` how the document that the other
one has stored is read: "equal", "different", "unreadable" or "missing".
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, BaseModel, ConfigDict, Field, SecretStr, computed_field, create_model, field_serializer


class Colour(Enum):
    RED = "red"


class Name(StrEnum):
    ADA = "ada"


class Level(IntEnum):
    HIGH = 2


class Computed(BaseModel):
    id: str
    value: int = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.value


class Serialized(BaseModel):
    id: str
    value: timedelta

    @field_serializer("value")
    def minutes(self, value: timedelta) -> float:
        return value.total_seconds() / 60


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    id: str
    value: int = Field(alias="aLongName")


class Excluded(BaseModel):
    id: str
    value: int = Field(default=0, exclude=True)


def one(kind: Any) -> Any:
    return create_model("One", id=(str, ...), value=(kind, ...))


NOON = datetime(2024, 2, 29, 12, 0, 0, 123_000, UTC)
KINDS: dict[str, tuple[Any, Any]] = {
    "time": (one(datetime), NOON),
    "time of another zone": (one(datetime), NOON.astimezone(timezone(timedelta(hours=2)))),
    "microseconds": (one(datetime), NOON.replace(microsecond=123_999)),
    "naive time": (one(datetime), NOON.replace(tzinfo=None)),
    "UUIDs": (one(list[UUID]), [UUID(int=1), UUID(int=2**127)]),
    "bytes": (one(bytes), b"\0\xff"),
    "StrEnum": (one(Name), Name.ADA),
    "IntEnum": (one(Level), Level.HIGH),
    "tuple": (one(tuple[int, str]), (1, "a")),
    "whole float": (one(float), 3.0),
    "None": (one(int | None), None),
    "dotted keys": (one(dict[str, int]), {"a.b": 1, "$c": 2}),
    "Enum": (one(Colour), Colour.RED),
    "date": (one(date), date(2024, 2, 29)),
    "Decimal": (one(Decimal), Decimal("1.50")),
    "Path": (one(Path), Path("/a/b")),
    "set": (one(set[str]), {"a"}),
    "timedelta": (one(timedelta), timedelta(seconds=90)),
    "infinity": (one(float), float("inf")),
    "large integer": (one(int), 2**63),
    "int keys": (one(dict[int, int]), {1: 1}),
    "SecretStr": (one(SecretStr), SecretStr("a")),
    "URL": (one(AnyUrl), AnyUrl("https://a.example/b")),
    "computed": (Computed, 1),
    "serializer": (Serialized, timedelta(minutes=2)),
    "alias": (Aliased, 1),
    "excluded": (Excluded, 1),
}


async def outcome(dao: Any, model: Any, value: Any, what: str, me: str, other: str) -> str:
    try:
        if what == "write":
            await dao.upsert(model(id=me, value=value))
            return "stored"
        found = await dao.get_by_id(other)
        return "equal" if found == model(id=other, value=value) else "different"
    except Exception as error:
        if type(error).__name__ in ("ResourceNotFoundError", "DocumentNotFound"):
            return "missing"
        return "refused" if what == "write" else "unreadable"


async def main(me: str, what: str) -> None:
    uri, database = os.environ["MONGO_DSN"], os.environ["DB_NAME"]
    results = {}
    if me == "hexkit":
        from hexkit.providers.mongodb import MongoDbConfig, MongoDbDaoFactory

        async with MongoDbDaoFactory.construct(config=MongoDbConfig(mongo_dsn=uri, db_name=database)) as factory:
            for number, (name, (model, value)) in enumerate(KINDS.items()):
                dao = await factory.get_dao(name=f"kind{number}", dto_model=model, id_field="id")
                results[name] = await outcome(dao, model, value, what, me, "persistence")
    else:
        from persistence.documents.mongodb import MongoDaoFactory

        async with MongoDaoFactory(uri, database) as ours:
            for number, (name, (model, value)) in enumerate(KINDS.items()):
                dao = await ours.dao(f"kind{number}", model, id_field="id")
                results[name] = await outcome(dao, model, value, what, me, "hexkit")
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
