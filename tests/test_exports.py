"""The library's public surface: what is named is there, and naming it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import connector


@pytest.mark.parametrize("name", connector.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(connector, name) is not None


def test_lazy_names_and_public_names_are_the_same() -> None:
    assert sorted(connector._MODULE_OF) == sorted(connector.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        connector.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'trio', 'httpx', 'cryptography', 'attrs', 'cattrs', 'nacl'}"
    code = f"import sys, connector; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
