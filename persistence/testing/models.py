"""Models used by the cases for document databases."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID, uuid4

import attrs


class Colour(Enum):
    """An enum with text values."""

    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    """An enum whose members are numbers."""

    LOW = 1
    HIGH = 2


_SEVEN: Final = UUID(int=7)
_FOLDER: Final = PurePosixPath("/data")


@attrs.frozen
class Address:
    """A nested model."""

    city: str
    zip: int | None = None


@attrs.frozen
class Person:
    """The model that most cases store."""

    id: str
    name: str = "Ada"
    age: int = 36
    email: str | None = None
    address: Address = Address("London")
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen
class NewPerson:
    """The creation model of `Person`: all fields but the id."""

    name: str
    age: int = 36
    email: str | None = None
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen
class Everything:
    """One field of every type that documents can hold."""

    id: UUID = attrs.field(factory=uuid4)
    flag: bool = True
    whole: int = 0
    real: float = 0.5
    text: str = ""
    raw: bytes = b""
    ref: UUID = _SEVEN
    when: datetime = datetime(2024, 2, 29, 12, 30, 15, 250_000, UTC)
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    nested: Address = Address("Paris", 75001)
    maybe: Address | None = None
    texts: list[str] = attrs.field(factory=list)
    people: list[Address] = attrs.field(factory=list)
    pair: tuple[int, str] = (1, "one")
    by_name: dict[str, int] = attrs.field(factory=dict)
    colours: list[Colour] = attrs.field(factory=list)
    either: int | str | None = None
    anything: Any = None


class Kind(Enum):
    """An enum whose values are UUIDs."""

    ONE = UUID(int=1)
    TWO = UUID(int=2)


@attrs.frozen
class Visit:
    """A nested model with an id and a time."""

    place: UUID
    at: datetime
    left: datetime | None = None


@attrs.frozen
class Journey:
    """UUIDs and times at every depth, and no dynamically typed field."""

    id: str
    _owner: UUID
    kind: Kind = Kind.ONE
    first: Visit | None = None
    visits: list[Visit] = attrs.field(factory=list, kw_only=True)
    refs: tuple[UUID, ...] = ()
    times: dict[str, datetime] = attrs.field(factory=dict)
    raw: bytes = b""
    raws: list[bytes] = attrs.field(factory=list)
    numbers: list[int] = attrs.field(factory=list)
    maybe: list[str] | None = None


@attrs.frozen
class ShortJourney:
    """An older version of `Journey` with fewer fields."""

    id: str
    _owner: str


@dataclasses.dataclass(frozen=True)
class Job:
    """A dataclass with a number as its id."""

    id: int
    state: str = "new"
    owner: str | None = None
    version: int = 0
    due: datetime | None = None


@attrs.frozen
class Capital(Address):
    """A nested model with a field more than the one it is stored as."""

    country: str = "Norway"


@attrs.define
class Run:
    """Types that are stored in another form, and a field that the constructor does not take."""

    id: str
    lasts: timedelta = timedelta(seconds=90)
    day: date = date(2024, 2, 29)
    cost: Decimal = Decimal("1.10")
    folder: PurePosixPath = _FOLDER
    labels: set[str] = attrs.field(factory=set)
    shares: list[Decimal] = attrs.field(factory=list)
    attempts: int = attrs.field(init=False, default=0)


@attrs.frozen
class Interval:
    """A model whose fields are checked together."""

    id: str
    low: int = 0
    high: int = 9
    step: int = attrs.field(default=1, validator=attrs.validators.gt(0))
    inner: dict[str, Address] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is larger than high")


@attrs.define(eq=False)
class Uncompared:
    """A model whose instances are never equal to others."""

    id: str
    tags: list[str] = attrs.field(factory=list)
