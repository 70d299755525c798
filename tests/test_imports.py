"""The arrows between the rooms (ARCHITECTURE.md), held by reading every module.

What is looked at is the source, not what happens to be loaded: an import inside a function counts too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each room of `connector` may import of the others; itself is always allowed.
ARROWS: Mapping[str, frozenset[str]] = {
    "errors": frozenset(),
    "config": frozenset({"errors"}),
    "parts": frozenset({"errors"}),
    "crypt4gh": frozenset({"errors", "parts"}),
    "wire": frozenset({"errors"}),
    # Of `persistence` the one helper that lets threads have the GIL.
    "transfer": frozenset({"errors", "parts", "persistence"}),
    # Of `transfer` for an error that the scheduler knows.
    "local": frozenset({"errors", "config", "crypt4gh", "transfer"}),
    "http": frozenset({"errors", "persistence"}),
    "clients": frozenset({"errors", "crypt4gh", "wire", "transfer", "http"}),
    "download": frozenset({"errors", "parts", "crypt4gh", "wire", "transfer", "local", "clients"}),
    "upload": frozenset({"errors", "parts", "crypt4gh", "wire", "transfer", "local", "clients"}),
    "recrypt": frozenset({"errors", "config", "parts", "crypt4gh", "transfer", "local"}),
    "adapters": frozenset({"errors", "parts", "persistence"}),
    "archive": frozenset({"errors", "config", "parts", "crypt4gh", "wire", "transfer", "adapters", "persistence"}),
    "session": frozenset(
        {"errors", "config", "crypt4gh", "wire", "transfer", "local", "http", "clients"} | {"download", "upload"}
    ),
    "pipeline": frozenset(
        {"errors", "config", "crypt4gh", "transfer", "local", "clients", "download", "upload", "recrypt", "session"}
    ),
    "cli": frozenset(
        {"errors", "config", "crypt4gh", "wire", "transfer", "local", "clients", "download", "upload", "recrypt"}
        | {"archive", "session"}
    ),
    "__main__": frozenset({"cli"}),
    "connector": frozenset(
        {"errors", "config", "parts", "crypt4gh", "transfer", "local", "http", "clients"}
        | {"download", "upload", "recrypt", "session", "pipeline"}
    ),
    "persistence": frozenset(),
}

# The halves of `persistence`, each with its providers, and the modules beside them.
PROVIDERS: Mapping[str, frozenset[str]] = {
    "documents": frozenset({"memory", "sqlite", "mongodb"}),
    "objects": frozenset({"memory", "filesystem", "s3"}),
}
BESIDE_HALVES = frozenset({"errors", "settings", "threads"})

# Pure rooms: time, randomness and files are passed in.
PURE = frozenset({"errors", "config", "parts", "crypt4gh", "wire"})
EFFECTS = frozenset(
    {"trio", "anyio", "asyncio", "threading", "concurrent", "multiprocessing", "subprocess", "socket", "ssl"}
    | {"httpx", "httpcore", "h11", "click", "starlette", "hypercorn", "time", "os", "random", "secrets"}
    | {"shutil", "tempfile", "glob", "sqlite3", "getpass", "logging"}
)
# `config` names paths without touching them, the others do not even do that.
EFFECTS_OF = {room: EFFECTS if room == "config" else EFFECTS | {"pathlib", "platformdirs"} for room in PURE}

# Who may use which library at all.
LIBRARIES: Mapping[str, frozenset[str]] = {
    "click": frozenset({"cli"}),
    "getpass": frozenset({"cli"}),
    "starlette": frozenset({"archive"}),
    "hypercorn": frozenset({"archive", "cli"}),
    "boto3": frozenset({"persistence"}),
    "botocore": frozenset({"persistence"}),
    "pymongo": frozenset({"persistence"}),
    "sqlite3": frozenset({"persistence", "adapters"}),
    "httpx": frozenset({"http", "clients", "session"}),
}
TALKING = frozenset({"print", "input", "breakpoint"})
CLOCKS = frozenset({"now", "utcnow", "today"})


@attrs.frozen
class Module:
    """One source file: its dotted name and its syntax tree."""

    name: str
    tree: ast.Module
    package: bool = False

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if parts[0] == "connector" and len(parts) > 1 else parts[0]


def parse(name: str, source: str, *, package: bool = False) -> Module:
    return Module(name, ast.parse(source), package)


def all_modules() -> list[Module]:
    modules = []
    for package in ("connector", "persistence"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            # Public names that are loaded when first used are imported by the stub, for type checkers.
            stub = path.with_suffix(".pyi")
            source = "".join(file.read_text(encoding="utf-8") for file in (path, stub) if file.exists())
            modules.append(parse(name, source, package=is_package))
    return modules


def targets(module: Module, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the dotted names that the statement asks for, `from a import b` as `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = module.name.split(".")
        here = parts[: len(parts) - node.level + (1 if module.package else 0)]
        base = ".".join([*here, base] if base else here)
    return [f"{base}.{alias.name}" for alias in node.names]


def imports(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from targets(module, node)


def room_of(target: str, names: frozenset[str]) -> str | None:
    """Return the room that an import leads to, or None for libraries."""
    parts = target.split(".")
    if parts[0] == "persistence":
        return "persistence"
    if parts[0] != "connector":
        return None
    # `from connector import x` is an import of room x, or of a public name.
    return parts[1] if len(parts) > 1 and f"connector.{parts[1]}" in names else "connector"


def wrong_arrows(modules: list[Module]) -> list[str]:
    names = frozenset(module.name for module in modules)
    wrong = []
    for module in modules:
        allowed = ARROWS.get(module.room)
        for target in imports(module):
            room = room_of(target, names)
            if room is not None and room != module.room and (allowed is None or room not in allowed):
                wrong.append(f"{module.name} imports {target}")
    return wrong


def half_and_provider(name: str) -> tuple[str, str | None]:
    """Return the half of `persistence` that a module is in, or what it is beside them, and its provider."""
    half, rest = [*name.split(".")[1:2], ""][0], name.split(".")[2:]
    return half, rest[0] if rest and rest[0] in PROVIDERS.get(half, ()) else None


def wrong_in_persistence(modules: list[Module]) -> list[str]:
    """Return imports from one half to the other, from one provider to another, and from shared modules to any."""
    wrong = []
    for module in modules:
        half, provider = half_and_provider(module.name)
        if not module.name.startswith("persistence.") or half == "testing":
            continue
        for target in imports(module):
            to_half, to_provider = half_and_provider(target)
            inside = to_half == half and to_provider in (None, provider)
            beside = to_half in BESIDE_HALVES and half != "errors"
            if target.startswith("persistence.") and not inside and not beside:
                wrong.append(f"{module.name} imports {target}")
    return wrong


def wrong_libraries(modules: list[Module]) -> list[str]:
    wrong = []
    for module in modules:
        for target in imports(module):
            library = target.split(".")[0]
            if library in EFFECTS_OF.get(module.room, ()):
                wrong.append(f"{module.name} is pure but imports {library}")
            if library in LIBRARIES and module.room not in LIBRARIES[library]:
                wrong.append(f"{module.name} imports {library}")
    return wrong


def impure_calls(modules: list[Module]) -> list[str]:
    wrong = []
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name(id=name) if name in TALKING and module.room != "cli":
                    wrong.append(f"{module.name}:{node.lineno} calls {name}()")
                case ast.Name(id="open") if module.room in PURE:
                    wrong.append(f"{module.name}:{node.lineno} opens a file")
                case ast.Attribute(attr=name, value=ast.Name(id="datetime" | "date")) if (
                    name in CLOCKS and module.room in PURE
                ):
                    wrong.append(f"{module.name}:{node.lineno} looks at the clock")
                case ast.Attribute(
                    attr="write", value=ast.Attribute(attr="stdout" | "stderr", value=ast.Name(id="sys"))
                ) if module.room != "cli":
                    wrong.append(f"{module.name}:{node.lineno} writes to a standard stream")
                case _:
                    pass
    return wrong


def at_module_level(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports at module level, those under TYPE_CHECKING too, but none in functions."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            yield from at_module_level(node.body)
            yield from at_module_level(node.orelse)
        elif isinstance(node, ast.Try):
            yield from at_module_level(node.body + node.orelse + node.finalbody)
            for handler in node.handlers:
                yield from at_module_level(handler.body)
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from at_module_level(node.body)


def circles(modules: list[Module]) -> list[list[str]]:
    """Return every circle of imports as the names along it."""
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        edges = graph.setdefault(module.name, set())
        for node in at_module_level(module.tree.body):
            for target in targets(module, node):
                name = target if target in names else target.rpartition(".")[0]
                if name in names and name != module.name:
                    edges.add(name)
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def private_parts(path: Path) -> list[str]:
    """Return where a file uses a private module, name or attribute of another distribution.

    The standard library is no distribution, and documents some names with an underscore (``os._exit``).
    """
    tree, found, foreign = ast.parse(path.read_text(encoding="utf-8")), [], {}

    def is_foreign(name: str) -> bool:
        top = name.partition(".")[0]
        return top not in OWN and top not in sys.stdlib_module_names

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        for local, name in names.items():
            if is_foreign(name):
                foreign[local] = name
                if any(is_private(step) for step in name.split(".")):
                    found.append(f"{path.name}:{node.lineno} imports {name}")
    for node in ast.walk(tree):
        base = node
        while isinstance(base, ast.Attribute):
            if is_private(base.attr):
                inner = base.value
                while isinstance(inner, ast.Attribute):
                    inner = inner.value
                if isinstance(inner, ast.Name) and inner.id in foreign:
                    found.append(f"{path.name}:{base.lineno} touches {ast.unparse(base)}")
            base = base.value
    return sorted(set(found))


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def overridden_private_methods(module_name: str) -> list[str]:
    """Return the private methods of a library's class that a class of this module overrides."""
    module, found = importlib.import_module(module_name), []
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != module_name:
            continue
        for base in kind.__mro__[1:]:
            top = base.__module__.partition(".")[0]
            if top in OWN or top in sys.stdlib_module_names:
                continue
            shared = {name for name in vars(base).keys() & vars(kind).keys() if is_private(name)}
            found += [f"{module_name}.{kind.__name__} overrides {base.__name__}.{name}" for name in shared - MACHINERY]
    return found


OWN = frozenset({"connector", "persistence", "tests", "benchmarks", "noxfile"})
# What metaclasses put into every class.
MACHINERY = frozenset({"_abc_impl", "_is_protocol", "_is_runtime_protocol"})
MODULES = all_modules()


def test_every_room_is_known() -> None:
    unknown = {module.room for module in MODULES} - set(ARROWS)
    assert not unknown, f"give {unknown} its arrows here and in ARCHITECTURE.md"
    assert len(MODULES) > 20


def test_the_picture_shows_these_arrows() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", picture, flags=re.MULTILINE)
    assert {room: frozenset(re.findall(r"`(\w+)`", arrows)) for room, arrows in rows} == ARROWS


def test_imports_run_one_way() -> None:
    assert wrong_arrows(MODULES) == []


def test_every_arrow_is_used() -> None:
    names = frozenset(module.name for module in MODULES)
    used: dict[str, set[str | None]] = {}
    for module in MODULES:
        used.setdefault(module.room, set()).update(room_of(target, names) for target in imports(module))
    unused = {room: of - used.get(room, set()) for room, of in ARROWS.items()}
    assert {room: sorted(of) for room, of in unused.items() if of} == {}


def test_the_arrows_themselves_have_no_circle() -> None:
    order: list[str] = []
    while len(order) < len(ARROWS):
        free = [room for room, of in ARROWS.items() if room not in order and of <= set(order)]
        assert free, f"a circle among {set(ARROWS) - set(order)}"
        order += free


def test_each_library_stays_in_its_rooms() -> None:
    assert wrong_libraries(MODULES) == []


def test_only_the_command_line_talks_and_pure_rooms_look_at_nothing() -> None:
    assert impure_calls(MODULES) == []


@pytest.mark.parametrize("folder", ["connector", "persistence", "benchmarks", "tests"])
def test_libraries_are_used_by_their_public_interface(folder: str) -> None:
    assert [use for path in sorted((ROOT / folder).rglob("*.py")) for use in private_parts(path)] == []


def test_no_private_method_of_a_library_is_overridden() -> None:
    names = [module.name for module in MODULES if not module.name.endswith("__main__")]
    assert [found for name in names for found in overridden_private_methods(name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "from h11._readers import READERS",
        "import _pytest.config",
        "import trio\ntrio._core.run",
        "from httpx import Client as C\nC()\nC._send_single_request",
    ],
)
def test_a_private_part_is_seen(source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert len(private_parts(path)) == 1


def test_no_circles_of_modules() -> None:
    assert circles(MODULES) == []


def test_the_halves_and_the_providers_do_not_know_each_other() -> None:
    assert wrong_in_persistence(MODULES) == []


def test_nothing_lies_beside_the_halves() -> None:
    found = {module.name.split(".")[1] for module in MODULES if module.name.startswith("persistence.")}
    assert found == {*PROVIDERS, *BESIDE_HALVES, "testing"}


def test_no_drawers_for_leftovers() -> None:
    leftovers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [module.name for module in MODULES if module.name.rpartition(".")[2] in leftovers] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("connector.crypt4gh.segments", "import connector.transfer.scheduler"),
        ("connector.download.job", "from connector.upload import job"),
        ("connector.upload.job", "def f() -> None:\n    from ..download.job import run"),
        ("connector.archive.inbox", "from connector.clients.objects import fetch"),
        ("connector.clients.objects", "from connector import cli"),
        ("connector.nowhere.lost", "from connector.errors import UsageError"),
        ("persistence.documents.codec", "from connector.errors import UsageError"),
    ],
)
def test_a_wrong_arrow_is_seen(name: str, source: str) -> None:
    others = [parse(f"connector.{room}", "") for room in ARROWS]
    assert len(wrong_arrows([*others, parse(name, source)])) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("connector.wire.lifetimes", "import time"),
        ("connector.crypt4gh.keys", "from os import urandom"),
        ("connector.parts", "def f() -> None:\n    from pathlib import Path"),
        ("connector.clients.objects", "import click"),
        ("connector.download.job", "from starlette.requests import Request"),
        ("connector.archive.inbox", "import boto3"),
    ],
)
def test_a_library_in_the_wrong_room_is_seen(name: str, source: str) -> None:
    assert len(wrong_libraries([parse(name, source)])) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("connector.download.job", "print('done')"),
        ("connector.clients.packages", "token = input()"),
        ("connector.transfer.reporting", "import sys\nsys.stderr.write('x')"),
        ("connector.wire.lifetimes", "from datetime import datetime\nx = datetime.now()"),
        ("connector.crypt4gh.keys", "open('key')"),
    ],
)
def test_an_impure_call_is_seen(name: str, source: str) -> None:
    assert len(impure_calls([parse(name, source)])) == 1


def test_a_circle_is_seen_and_lazy_imports_are_none() -> None:
    a = parse("connector.a", "from connector.b import x")
    assert circles([a, parse("connector.b", "from . import a")]) == [["connector.a", "connector.b", "connector.a"]]
    assert circles([a, parse("connector.b", "def f():\n    from . import a")]) == []
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a"
    assert circles([a, parse("connector.b", typing)]) == [["connector.a", "connector.b", "connector.a"]]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("persistence.documents.codec", "from persistence.objects.naming import check_bucket"),
        ("persistence.objects.s3.storage", "def f() -> None:\n    from persistence import documents"),
        ("persistence.documents.sqlite.sql", "from persistence.documents.mongodb.filters import Filters"),
        ("persistence.objects.protocol", "from persistence.objects.filesystem import FilesystemStorage"),
        ("persistence.threads", "from persistence.documents import Index"),
        ("persistence.errors", "from persistence.threads import Threads"),
        ("persistence.documents.factory", "from persistence.testing import dao_suite"),
    ],
)
def test_an_import_across_halves_or_providers_is_seen(name: str, source: str) -> None:
    assert len(wrong_in_persistence([parse(name, source)])) == 1
