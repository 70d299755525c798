"""The service of docs/from-hexkit.md, as it stands there, before and after, on one MongoDB and one S3 server.

``HEXKIT_PYTHON`` names a Python with hexkit 9.0.3, in an environment of its own, since it needs other versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection

from persistence.documents.mongodb import MongoSettings
from persistence.testing.servers import S3Endpoint

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from-hexkit.md"
DRIVER = Path(__file__).with_name("inbox_driver.py")
HEXKIT_PYTHON = os.environ.get("HEXKIT_PYTHON", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not HEXKIT_PYTHON and "CI" not in os.environ, reason="HEXKIT_PYTHON names no Python with hexkit"
    ),
]

ADA = {"id": "7e1e2a5c-6f0a-4d5f-8d6b-0123456789ab", "name": "Ada", "email": "ada@example.org"}
CHECKSUM = {"algorithm": "sha256", "value": "00", "taken": "2026-02-28T23:59:59.123Z"}
PART = 5 * 1024**2


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the page: blocks that begin with the same file name are one module."""
    folder = tmp_path_factory.mktemp("inbox")
    modules: dict[str, str] = defaultdict(str)
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        modules[name] += text + "\n"
    assert sorted(modules) == ["after.py", "before.py", "models.py"]
    for name, text in modules.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


class Version:
    """One version of the service, running as a process."""

    def __init__(self, python: str, module: str, backend: str, path: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [python, str(DRIVER), module, backend],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **environment, "PYTHONPATH": path},
        )  # fmt: skip

        # Two that start at once would both create the buckets.
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, name: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        line = self.process.stdout.readline()
        assert line, f"{name} failed"
        return json.loads(line)

    def receive(self, accession: str, *fills: int) -> Any:
        """A file of whole parts and a small one, from its announcement to its completion."""
        file = self("announce", accession=accession, part_size=PART, depositor=ADA)
        self.send(file, *fills)
        return self("complete", id_=file["id"], checksum=CHECKSUM)

    def send(self, file: Any, *fills: int, first: int = 1) -> None:
        for number, fill in enumerate(fills, first):
            self("send_part", id_=file["id"], number=number, size=PART if fill else 10, fill=fill)


@pytest.fixture(params=["asyncio", "trio"])
def versions(
    request: pytest.FixtureRequest,
    code: Path,
    mongodb_databases: Callable[[], MongoSettings],
    s3: S3Endpoint,
) -> Iterator[tuple[MongoSettings, Version, Version]]:
    assert HEXKIT_PYTHON, "HEXKIT_PYTHON names no Python with hexkit"
    database = mongodb_databases()
    environment = {
        "MONGO_DSN": database.uri, "DB_NAME": database.database,
        "MONGODB_URI": database.uri, "MONGODB_DATABASE": database.database,
        "S3_ENDPOINT_URL": s3.url, "S3_ACCESS_KEY_ID": s3.access_key, "S3_SECRET_ACCESS_KEY": s3.secret_key,
        "S3_ACCESS_KEY": s3.access_key, "S3_SECRET_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    before = Version(HEXKIT_PYTHON, "before", "asyncio", str(code), environment)
    after = Version(sys.executable, "after", request.param, f"{code}{os.pathsep}{ROOT}", environment)
    yield database, before, after
    for version in (before, after):
        version.process.communicate(timeout=180)


@pytest.mark.parametrize("first", ["before", "after"])
def test_what_one_version_writes_the_other_reads(versions: tuple[MongoSettings, Version, Version], first: str) -> None:
    _, one, two = versions
    if first == "after":
        one, two = two, one
    received = one.receive("A", 1, 2, 0)
    one.send(one("announce", accession="B", part_size=PART, depositor=ADA), 3)
    started = one("find", accession="B")

    # The other version reads it, continues the open upload, and archives.
    assert two("find", accession="A") == received
    assert two("find", accession="B") == started
    assert two("find", accession="C") is None
    assert two("announce", accession="A", part_size=PART, depositor=ADA) == "taken: A"
    two.send(started, 0, first=2)
    completed = two("complete", id_=started["id"], checksum=CHECKSUM)
    assert two("archive", id_=received["id"]) == 2 * PART + 10

    # And back again.
    assert one("find", accession="B") == completed
    assert one("find", accession="A") == {**received, "state": "archived"}
    assert one("archive", id_=started["id"]) == PART + 10
    content = {"A": b"\1" * PART + b"\2" * PART + b"\0" * 10, "B": b"\3" * PART + b"\0" * 10}
    for version in (one, two):
        for id_, accession in ((received["id"], "A"), (started["id"], "B")):
            assert version("download", id_=id_) == hashlib.sha256(content[accession]).hexdigest()
        found = version("of_depositor", depositor=ADA["id"], since=received["announced"], limit=5)
        assert [file["accession"] for file in found] == ["B", "A"]
        assert version("of_depositor", depositor=ADA["id"], since="2100-01-01T00:00:00Z", limit=5) == []

    withdrawn = one("announce", accession="D", part_size=PART, depositor=ADA)
    two("withdraw", id_=withdrawn["id"])
    assert one("find", accession="D") is None


def test_both_store_the_same(versions: tuple[MongoSettings, Version, Version]) -> None:
    from bson.binary import UuidRepresentation
    from pymongo import MongoClient

    database, before, after = versions
    files = [version("announce", accession=name, part_size=PART, depositor=ADA)
             for name, version in (("A", before), ("B", after))]  # fmt: skip
    for version, file in zip((after, before), files, strict=True):
        version.send(file, 0)
        version("complete", id_=file["id"], checksum=CHECKSUM)
    client: MongoClient[dict[str, Any]]
    with MongoClient(database.uri, uuidRepresentation="standard", tz_aware=True) as client:
        collection: Collection[dict[str, Any]] = client[database.database]["files"]
        assert collection.codec_options.uuid_representation == UuidRepresentation.STANDARD
        by_hexkit, by_us = (collection.find_one({"accession": name}) for name in "AB")
    assert by_hexkit is not None
    assert by_us is not None
    different = ("_id", "accession", "upload_id", "announced")
    assert {k: v for k, v in by_hexkit.items() if k not in different} == {
        k: v for k, v in by_us.items() if k not in different
    }
    assert {k: type(v) for k, v in by_hexkit.items()} == {k: type(v) for k, v in by_us.items()}


NAMES = """
import ast, importlib.util, json, pathlib

MODULES = ["protocols.dao", "protocols.objstorage", "providers.mongodb", "providers.s3", "providers.mongodb.migrations",
           "providers.mongodb.migrations.helpers", "providers.mongodb.testutils", "providers.s3.testutils",
           "providers.testing"]
names = []
for module in MODULES:
    tree = ast.parse(pathlib.Path(importlib.util.find_spec("hexkit." + module).origin).read_text("utf-8"))
    names += [item.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
              for item in node.value.elts]
from hexkit.protocols.dao import Dao, DaoFactoryProtocol
from hexkit.protocols.objstorage import ObjectStorageProtocol
for kind in (Dao, DaoFactoryProtocol, ObjectStorageProtocol):
    names += [name for name in dir(kind) if not name.startswith("_")]
print(json.dumps(names))
"""


def test_each_public_name_of_hexkit_is_in_the_table() -> None:
    assert HEXKIT_PYTHON, "HEXKIT_PYTHON names no Python with hexkit"
    done = subprocess.run([HEXKIT_PYTHON, "-c", NAMES], capture_output=True, text=True, timeout=120, check=True)
    names = json.loads(done.stdout)
    assert len(names) > 100
    page = PAGE.read_text("utf-8")
    words = set(re.findall(r"\w+", page[page.index("## Names") :]))
    # PyMongo's own, and kinds that are not there at all, which are told as such.
    left = {n for n in names if not n.endswith("KeyValueStore")} - {"MongoClient", "MEBIBYTE", "TEST_FILE_DIR"} - words
    assert {n for n in left if not re.fullmatch(r"get_\w+_fixture", n)} == set()


def test_values_are_stored_as_the_page_says(mongodb_databases: Callable[[], MongoSettings]) -> None:
    assert HEXKIT_PYTHON, "HEXKIT_PYTHON names no Python with hexkit"
    database = mongodb_databases()
    environment = {**os.environ, "MONGO_DSN": database.uri, "DB_NAME": database.database, "PYTHONPATH": str(ROOT)}

    def run(who: str, what: str) -> dict[str, str]:
        command = [HEXKIT_PYTHON if who == "hexkit" else sys.executable, str(DRIVER.with_name("value_driver.py"))]
        environment["PYTHONPATH"] = "" if who == "hexkit" else str(ROOT)
        done = subprocess.run([*command, who, what], env=environment, capture_output=True, timeout=120, check=True)
        results: dict[str, str] = json.loads(done.stdout)
        return results

    stored = {who: run(who, "write") for who in ("hexkit", "persistence")}
    read = {who: run(who, "read") for who in ("hexkit", "persistence")}
    found = {kind: (stored["hexkit"][kind], read["persistence"][kind],
                    stored["persistence"][kind], read["hexkit"][kind]) for kind in stored["hexkit"]}  # fmt: skip
    same = ("stored", "equal", "stored", "equal")
    only_here = ("refused", "missing", "stored", "equal")
    refused = ("refused", "missing", "refused", "missing")
    expected = dict.fromkeys(found, same)
    expected |= dict.fromkeys(("Enum", "date", "Decimal", "Path", "set", "timedelta"), only_here)
    expected |= dict.fromkeys(("large integer", "int keys", "SecretStr", "URL"), refused)
    expected |= {
        "microseconds": ("stored", "different", "stored", "different"),
        "naive time": ("stored", "different", "refused", "missing"),
        "infinity": ("stored", "equal", "refused", "missing"),
        "excluded": ("stored", "different", "stored", "equal"),
        # hexkit stores what the serializer returns, and reads that as seconds too.
        "serializer": ("stored", "different", "stored", "equal"),
    }
    assert found == expected
