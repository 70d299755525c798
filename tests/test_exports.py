"""The library's public surface: what is named is there, and naming it costs nothing until it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import connector

NONSENSE = "nonsense"


@pytest.mark.parametrize("name", vars(connector)["__all__"])
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(connector, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(connector.__file__).with_suffix(".pyi").read_text())
    seen = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    public: dict[str, str] = vars(connector)["_PUBLIC_NAMES"]
    assert seen == {name: module for module, names in public.items() for name in names.split()}


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match=NONSENSE):
        getattr(connector, NONSENSE)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'trio', 'httpx', 'cryptography', 'attrs', 'cattrs', 'nacl'}"
    code = f"import sys, connector; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
