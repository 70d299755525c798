"""Documents of any plain values: every provider finds the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.from_thread
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persistence.documents import Dao, DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory

SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
FEW = settings(SETTINGS, max_examples=150)
MANY = settings(SETTINGS, max_examples=400)


@attrs.frozen
class Thing:
    """One field of any type."""

    id: int
    value: Any = None


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 0.5, 2.0**53, 2.0**63, 1e300, -5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "A", "1", "[1]", '{"x":1}', "$", "$t:x", "a\0b", "\1", "é", "a\nb", "🎉"]),
    st.sampled_from([b"", b"a", b"x" * 16, b"y" * 17]),
    st.sampled_from([UUID(int=0), UUID(int=7), UUID(int=2**128 - 1)]),
    st.sampled_from(
        [datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]
    ),
)
keys = st.sampled_from(["x", "y", "0"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
paths = st.sampled_from(["value", "value", "value.x", "value.x.y", "value.0", "value.0.x"])
items = ["a", "[a-c]", ".", ".*", "é", r"\$", r"\d", r"\[", "\0", "\n", "[^a]", "1"]
patterns = st.builds(
    lambda start, pieces, end: start + "".join(pieces) + end,
    st.sampled_from(["", "^"]),
    st.lists(st.sampled_from(items), max_size=3),
    st.sampled_from(["", "$", "|a", "$|^A"]),
)


@st.composite
def conditions(draw: Any, known: list[Any]) -> dict[str, Any]:
    wanted = st.sampled_from(known) | values if known else values
    field = draw(paths)
    operator = draw(
        st.sampled_from(["$eq", "$ne", "$in", "$nin", "$gt", "$lte", "$contains", "$exists", "$size", "$regex"])
    )
    operand: Any
    if operator in ("$in", "$nin"):
        operand = draw(st.lists(wanted, max_size=3))
    elif operator in ("$gt", "$lte"):
        operand = draw(scalars.filter(lambda value: value is not None))
    elif operator == "$exists":
        operand = draw(st.booleans())
    elif operator == "$size":
        operand = draw(st.integers(0, 3))
    elif operator == "$regex":
        return {field: {"$regex": draw(patterns), "$options": draw(st.sampled_from(["", "i"]))}}
    else:
        operand = draw(wanted)
    return {field: {operator: operand}}


@st.composite
def cases(draw: Any) -> tuple[list[Any], dict[str, Any]]:
    stored = draw(st.lists(values, max_size=6))
    inner = conditions([*stored, *(item for value in stored if isinstance(value, list) for item in value)])
    several = st.lists(inner, min_size=1, max_size=3)
    query = draw(
        inner
        | st.builds(lambda terms: {"$or": terms}, several)
        | st.builds(lambda terms: {"$nor": terms}, several)
        | st.builds(lambda term: {"$not": term}, inner)
    )
    return stored, query


@contextmanager
def daos(backend: str, *factories: DaoFactory) -> Iterator[Any]:
    with anyio.from_thread.start_blocking_portal(backend) as portal, ExitStack() as stack:
        made = [stack.enter_context(portal.wrap_async_context_manager(factory)) for factory in factories]
        yield portal, [portal.call(partial(factory.dao, "things", Thing, id_field="id")) for factory in made]


def check_all(portal: anyio.from_thread.BlockingPortal, made: list[Dao[Thing]], chosen: settings) -> None:
    numbers = itertools.count()

    async def answers(dao: Dao[Thing], things: list[Thing], where: dict[str, Any]) -> tuple[list[int], int]:
        await dao.insert_many(things)
        try:
            found = [thing.id - things[0].id async for thing in dao.find_all(where, sort=["id"])]
            return found, await dao.count(where)
        finally:
            await dao.delete_many(thing.id for thing in things)

    @chosen
    @given(cases())
    def agree(case: tuple[list[Any], dict[str, Any]]) -> None:
        stored, where = case
        things = [Thing(next(numbers), value) for value in stored]
        first, *others = [portal.call(answers, dao, things, where) for dao in made]
        assert all(other == first for other in others), (first, others, things, where)

    agree()


def test_memory_and_sqlite_find_the_same(tmp_path: Path) -> None:
    with daos("trio", MemoryDaoFactory(), SqliteDaoFactory(tmp_path / "documents.db")) as (portal, made):
        check_all(portal, made, MANY)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_memory_and_mongodb_find_the_same(backend: str, mongodb: str) -> None:
    with daos(backend, MemoryDaoFactory(), MongoDaoFactory(mongodb, f"properties_{backend}")) as (portal, made):
        check_all(portal, made, FEW)
