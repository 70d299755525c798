from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from persistence.documents import DaoFactory
from persistence.documents.changes import Changes
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.query import And, Compare
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import InvalidValue


class Quota(pydantic.BaseModel):
    id: str
    used: int = pydantic.Field(default=0, ge=0, le=10)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_pydantic_refuses_is_not_stored(kind: str, tmp_path: Path) -> None:
    factory: DaoFactory = MemoryDaoFactory() if kind == "memory" else SqliteDaoFactory(tmp_path / "documents.db")
    async with factory:
        dao = await factory.dao("quotas", Quota, id_field="id")
        await dao.insert(Quota(id="1"))
        assert await dao.compare_and_set("1", expected={}, increments={"used": 10}) == Quota(id="1", used=10)
        with pytest.raises(InvalidValue):
            await dao.compare_and_set("1", expected={}, increments={"used": 1})
        with pytest.raises(InvalidValue):
            await dao.compare_and_set("1", expected={}, changes={"used": -1})
        assert await dao.get_by_id("1") == Quota(id="1", used=10)


@pytest.mark.parametrize(
    ("number", "by", "allowed"),
    [
        (2**63 - 2, 1, True), (2**63 - 1, 1, False), (2**63 - 1, 0, True), (-(2**63), -1, False), (0, -(2**63), True),
        (-1, -(2**63), False), (1.7e308, 1e307, False), (1.7e308, 1e306, True), (-1.7e308, -1e307, False),
        (1e300, 1, False), (5, 0.5, True), (True, 1, False), (None, 1, False), ("5", 1, False), ([5], 1, False),
    ],
)  # fmt: skip
def test_an_increment_has_bounds(number: object, by: float, allowed: bool) -> None:
    changes = Changes({}, {"a.b": by})
    document = {"a": {"b": number, "c": 1}}
    if not allowed:
        with pytest.raises(InvalidValue):
            changes.apply(document, And())
        return
    assert changes.apply(document, And()) == {"a": {"b": number + by, "c": 1}}  # type: ignore[operator]
    assert document == {"a": {"b": number, "c": 1}}


def test_nothing_is_checked_of_a_document_that_does_not_match() -> None:
    assert Changes({}, {"none": 1}).apply({"a": 1}, Compare("a", "eq", 2)) is None
