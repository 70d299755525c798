"""Loaders written for one model: functions that make it of a document in the form a database gives.

A loader of general means calls a function for every field of every document, which costs more
than reading the document from the network. So, as attrs does for `__init__`, source is written for
the model and compiled once. It knows complete documents of the usual types only; whatever else
comes is left to the general loader, which also finds the words for what does not fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs

M = TypeVar("M")

_KEPT: Final = {str: "str", int: "int", float: "float", bool: "bool"}
"""Types whose values are taken as they are, if they are of exactly this type."""


def compiled(
    model: Any,
    hints: Mapping[str, Any],
    keys: Mapping[str, str],
    hook: Callable[[Any], Callable[[Any, Any], Any]],
    otherwise: Callable[[Any], Any],
) -> Callable[[Any], Any]:
    """The loader of an attrs class or dataclass; `otherwise` itself where the class is out of the usual.

    Args:
        model: the class.
        hints: the types of its fields.
        keys: what the fields are called in documents, where not by their names.
        hook: gives what structures values of a type; called with a value and the type.
        otherwise: the general loader.
    """
    arguments = _arguments(model)
    if arguments is None:
        return otherwise
    names: dict[str, Any] = {"model": model, "otherwise": otherwise}
    lines: list[str] = []
    passed: list[str] = []
    for number, (name, argument) in enumerate(arguments.items()):
        value = f"v{number}"
        lines.append(f"{value} = document[{keys.get(name, name)!r}]")
        lines += _checked(value, hints[name], hook, names)
        passed.append(value if argument is None else f"{argument}={value}")
    body = "".join(f"        {line}\n" for line in lines)
    source = (
        f"def load(document):\n    try:\n{body}        return model({', '.join(passed)})\n"
        f"    except Exception:\n        return otherwise(document)\n"
    )
    exec(compile(source, f"<loader of {model.__name__}>", "exec"), names)
    load: Callable[[Any], Any] = names["load"]
    return load


def _arguments(model: Any) -> dict[str, str | None] | None:
    """By field, the keyword of the constructor, or None where a place does; None if there is no such constructor."""
    found: dict[str, str | None] = {}
    for field in attrs.fields(model) if attrs.has(model) else dataclasses.fields(model):
        if not field.init:
            return None
        named = field.kw_only or any(found.values())
        found[field.name] = getattr(field, "alias", field.name) if named else None
    return found


def _checked(
    value: str, hint: Any, hook: Callable[[Any], Callable[[Any, Any], Any]], names: dict[str, Any]
) -> list[str]:
    """Statements that leave the structured value in the variable, or raise."""
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        inner = [item for item in get_args(hint) if item is not NoneType]
        if len(inner) == 1:
            return [f"if {value} is not None:", *("    " + line for line in _checked(value, inner[0], hook, names))]
    if hint in _KEPT:
        return [f"if type({value}) is not {_KEPT[hint]}: raise TypeError"]
    if get_origin(hint) is list and get_args(hint)[0] in _KEPT:
        kind = _KEPT[get_args(hint)[0]]
        return [
            f"if type({value}) is not list: raise TypeError",
            f"for item in {value}:",
            f"    if type(item) is not {kind}: raise TypeError",
        ]
    names[f"{value}_hook"] = hook(hint)
    names[f"{value}_type"] = hint
    return [f"{value} = {value}_hook({value}, {value}_type)"]
