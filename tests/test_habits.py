"""What all tests keep to (CONTRIBUTING.md): they recognise errors by a keyword, and patch no module of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("connector", "persistence")
WORDS_IN_A_ROW = 4
"""So many words of a message in a test pin its sentence."""
_WORD = re.compile(r"[a-z][\w'-]*")


def messages(node: ast.AST) -> Iterator[str]:
    """The texts below a node; those of an f-string are cut at its values."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def runs_of_words(text: str) -> set[tuple[str, ...]]:
    """All that a text has of `WORDS_IN_A_ROW`."""
    words = _WORD.findall(re.sub(r"\\(.)", r"\1", text.lower()))
    return {tuple(words[start : start + WORDS_IN_A_ROW]) for start in range(len(words) - WORDS_IN_A_ROW + 1)}


def expectations(tree: ast.AST) -> Iterator[ast.expr]:
    """What a test looks for in a message: `match=`, and the left side of `in`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "match":
            yield node.value
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            yield node.left


def pinned(source: str, said: set[tuple[str, ...]]) -> list[int]:
    """The lines of a test that expect a sentence of ours."""
    return [
        expected.lineno
        for expected in expectations(ast.parse(source))
        if any(runs_of_words(text) & said for text in messages(expected))
    ]


def patched(source: str) -> list[int]:
    """The lines of a test that replace a name in a module of ours."""
    tree = ast.parse(source)
    ours: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in (*PACKAGES, "tests"):
            ours |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            ours |= {alias.asname or alias.name for alias in node.names if alias.name.partition(".")[0] in PACKAGES}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func).rpartition(".")[2] in ("setattr", "setitem", "delattr", "delitem", "patch", "object")
        and re.split(r"\W", ast.unparse(call.args[0]).strip("'\""), maxsplit=1)[0] in {*ours, *PACKAGES}
    ]


@pytest.fixture(scope="module")
def said() -> set[tuple[str, ...]]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {run for path in files for text in _texts_but_docstrings(path) for run in runs_of_words(text)}


def _texts_but_docstrings(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def test_errors_are_recognised_by_a_keyword_not_by_their_sentence(said: set[tuple[str, ...]]) -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in TESTS for line in pinned(path.read_text("utf-8"), said)]
    assert found == []


def test_no_module_of_ours_is_patched() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in TESTS for line in patched(path.read_text("utf-8"))]
    assert found == []


def test_both_are_found_where_they_are() -> None:
    said = runs_of_words("The disk is full: free some space.")
    assert pinned('assert "the disk is full" in done.err\nraises(E, match=r"free some\\ space")', said) == [1]
    assert pinned('assert f"{path}: disk is full" in done.err', said) == []
    source = "from connector.http import pool\nimport os, connector\n"
    assert patched(source + "patch.setattr(pool, 'x', 1)\npatch.setattr(os, 'x', 1)") == [3]
    assert patched(source + "mock.patch('connector.http.x')\nsetattr(connector.http, 'x', 1)") == [3, 4]
