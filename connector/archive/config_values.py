"""Values of a configuration, from the file, the environment or options, as those of `ArchiveConfig`: strict, and with
errors that name their key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cattrs import Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError

from connector.archive.config import FilesystemBuckets, MongodbDocuments, S3Buckets, SqliteDocuments
from connector.config import parse_size
from connector.errors import UsageError

T = TypeVar("T")

DOCUMENTS: Mapping[str, type] = {"sqlite": SqliteDocuments, "mongodb": MongodbDocuments}
STORAGES: Mapping[str, type] = {"filesystem": FilesystemBuckets, "s3": S3Buckets}
"""The classes of the tables that name a provider."""


def structure_as(table: dict[str, Any], kind: type[T], name: str) -> T:
    """Make a value of a table of the configuration, which errors call `name`; raises `UsageError`."""
    try:
        return _CONVERTER.structure(table, kind)
    except Exception as error:
        told = [_shortened(one) for one in transform_error(error, format_exception=_reason)]
        raise UsageError(f"{name}: {'; '.join(told)}.") from error


def _reason(error: BaseException, kind: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        return f"there is no key {', '.join(map(repr, sorted(error.extra_fields)))}"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error.args[0]) if error.args else str(error)


def _shortened(line: str) -> str:
    """A line of cattrs, `reason @ $.path`, as `path: reason`; settings are keys of the file's top."""
    reason, _, path = line.rpartition(" @ ")
    path = path.removeprefix("$").removeprefix(".").removeprefix("settings").removeprefix(".")
    return f"{path}: {reason}" if path else reason


def _by_provider(classes: Mapping[str, type]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError("a table is expected")
        provider = value.get("provider")
        if not isinstance(provider, str) or provider not in classes:
            raise ValueError(f"provider must be one of {', '.join(classes)}, not {provider!r}")
        return _CONVERTER.structure({k: v for k, v in value.items() if k != "provider"}, classes[provider])

    return structure


def _whole(value: Any, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        return parse_size(value)  # plain digits, or with a unit
    raise TypeError(f"a whole number is expected, not {value!r}")


def _number(value: Any, _: Any) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"a number is expected, not {value!r}")


def _flag(value: Any, _: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = value if isinstance(value, bool) else words.get(str(value).lower())
    if found is None:
        raise TypeError(f"true or false is expected, not {value!r}")
    return found


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"a text is expected, not {value!r}")
    return value


def _bytes(value: Any, _: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("the name of a file is expected")
    return value


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    for kind, hook in ((int, _whole), (float, _number), (bool, _flag), (str, _text), (bytes, _bytes)):
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook(Path, lambda value, _: Path(_text(value, None)))
    converter.register_structure_hook(SqliteDocuments | MongodbDocuments, _by_provider(DOCUMENTS))
    converter.register_structure_hook(FilesystemBuckets | S3Buckets, _by_provider(STORAGES))
    return converter


_CONVERTER = _make_converter()
