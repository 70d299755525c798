"""Models of any kind: each write comes back equal from every provider, or is refused and nothing is stored."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio.from_thread
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persistence.documents import Dao, DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import InvalidQuery, InvalidValue
from tests.persistence.documents.generated_models import Model, models

EXAMPLES: Final = int(os.environ.get("MODEL_EXAMPLES", "40"))
SETTINGS: Final = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)

IDS: Final = ("one", "two", "three")
_numbers = itertools.count()


def _equality_of(kind: Any) -> Any:
    return kind.__eq__


def equal(value: Any, again: Any) -> bool:
    """Whether two models are equal, also where their class says nothing of it."""
    if type(value) is not type(again):
        return False
    if attrs.has(type(value)) and _equality_of(type(value)) is _equality_of(object):
        names = [field.name for field in attrs.fields(type(value))]
        return all(getattr(value, name) == getattr(again, name) for name in names)
    return bool(value == again)


def at(model: Any, path: str) -> Any:
    """The value of a field, also inside of models and dicts."""
    for step in path.split("."):
        model = model[step] if isinstance(model, dict) else getattr(model, step)
    return model


class Checked:
    """A DAO whose writes are followed by a look at everything that is stored."""

    def __init__(self, dao: Dao[Any], fields: list[str]) -> None:
        self._dao = dao
        self._fields = fields
        self._stored: dict[str, Any] = {}
        self.outcomes: list[str] = []

    async def write(self, call: Callable[[Dao[Any]], Awaitable[Any]], changed: list[Any]) -> Any:
        """Write models, all of them or, where that is refused, none."""
        try:
            result = await call(self._dao)
        except InvalidValue:
            self.outcomes.append("refused")
            result = None
        else:
            self.outcomes.append("stored")
            self._stored |= {model.id: model for model in changed}
        await self.check()
        return result

    async def change(self, path: str, value: Any) -> None:
        """Set a field of the first model, or a field inside of it."""
        if "one" not in self._stored:
            return
        try:
            changed = await self._dao.compare_and_set("one", expected={}, changes={path: value})
        except (InvalidValue, InvalidQuery):
            self.outcomes.append("change refused")
        else:
            self.outcomes.append("changed")
            before, (changed_field, *_) = self._stored["one"], path.split(".")
            for name in self._fields:
                kept = name != changed_field
                if kept or name == path:
                    assert getattr(changed, name) == (getattr(before, name) if kept else value), name
            assert at(changed, path) == value
            self._stored["one"] = changed
        await self.check()

    async def check(self) -> None:
        """What is stored is what was written, and a query for a value finds it."""
        assert await self._dao.count() == len(self._stored)
        found = {model.id: model async for model in self._dao.find_all()}
        assert found.keys() == self._stored.keys()
        for id_, model in self._stored.items():
            assert equal(model, found[id_])
            assert equal(model, await self._dao.get_by_id(id_))
            assert equal(model, await self._dao.find_one({"id": id_}))

    async def check_queries(self) -> None:
        for id_, model in self._stored.items():
            for field in self._fields:
                try:
                    found = await self._dao.count({"id": id_, field: getattr(model, field)})
                except InvalidQuery:
                    self.outcomes.append("no query")
                else:
                    assert found == 1, (field, getattr(model, field))


async def use(factory: DaoFactory, model: Model, instances: list[Any], changes: list[tuple[str, Any]]) -> list[str]:
    """Write the instances in every way; give what was stored and what was refused."""
    name = f"models_{next(_numbers)}"
    try:
        dao: Dao[Any] = await factory.dao(name, model.kind, id_field="id")
    except InvalidQuery:
        return ["no DAO"]
    checked = Checked(dao, list(model.fields))
    first, second, third, fourth = instances
    await checked.write(lambda dao: dao.insert(first), [first])
    for change in changes:
        await checked.change(*change)
    await checked.write(lambda dao: dao.upsert(second), [second])
    await checked.write(lambda dao: dao.upsert_many([third, fourth]), [third, fourth])
    await checked.write(lambda dao: dao.upsert(first), [first])
    if len(checked._stored) == 3:
        await checked.write(lambda dao: dao.update(second), [second])
        await dao.delete_many(["two", "three"])
        del checked._stored["two"], checked._stored["three"]
        await checked.write(lambda dao: dao.insert_many([third, fourth]), [third, fourth])
    await checked.check_queries()
    await dao.delete_many(IDS)
    return checked.outcomes


@st.composite
def cases(draw: st.DrawFn) -> tuple[Model, list[Any], list[tuple[str, Any]]]:
    model = draw(models(2, stored=True))
    instances = [draw(model.instances) for _ in range(4)]
    for instance, id_ in zip(instances, ("one", "one", "two", "three"), strict=True):
        object.__setattr__(instance, "id", id_)
    changes = model.changes
    paths = draw(st.lists(st.sampled_from(sorted(changes)), min_size=1, max_size=3))
    return model, instances, [(path, draw(changes[path])) for path in paths]


@contextlib.contextmanager
def opened(factories: list[DaoFactory]) -> Any:
    with anyio.from_thread.start_blocking_portal("asyncio") as portal, contextlib.ExitStack() as stack:
        for factory in factories:
            stack.enter_context(portal.wrap_async_context_manager(factory))
        yield portal


@pytest.mark.slow
def test_models_come_back_or_are_refused(tmp_path: Path, mongodb: str) -> None:
    factories = [
        MemoryDaoFactory(),
        SqliteDaoFactory(tmp_path / "documents.db"),
        MongoDaoFactory(mongodb, "generated_models"),
    ]
    seen: dict[str, int] = {}
    with opened(factories) as portal:

        @settings(SETTINGS)
        @given(case=cases())
        def check(case: tuple[Model, list[Any], list[tuple[str, Any]]]) -> None:
            outcomes = [portal.call(use, factory, *case) for factory in factories]
            assert outcomes[0] == outcomes[1] == outcomes[2]
            for outcome in outcomes[0]:
                seen[outcome] = seen.get(outcome, 0) + 1

        check()
    print(seen)
    assert seen["stored"] > 10
    assert seen["refused"] > 10
