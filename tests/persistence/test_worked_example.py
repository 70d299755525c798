"""The worked example of docs/persistence.md, run as it stands there, on both sets of providers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from persistence.errors import UniqueViolation
from persistence.testing.servers import S3Endpoint

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "persistence.md"


@pytest.fixture(scope="module")
def example() -> Any:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    example = [block for block in blocks if "pytest" not in block]
    assert (len(example), len(blocks)) == (4, 5)
    module = ModuleType("worked_example")
    sys.modules[module.__name__] = module
    exec(compile("\n".join(example), str(PAGE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture(params=["one machine", "a cluster"])
def places(request: pytest.FixtureRequest, example: Any, tmp_path: Path) -> Any:
    if request.param == "one machine":
        return example.on_one_machine(tmp_path)
    s3: S3Endpoint = request.getfixturevalue("s3")
    return example.on_a_cluster(s3.url, s3.access_key, s3.secret_key, request.getfixturevalue("mongodb"))


async def test_the_example_works(example: Any, places: Any) -> None:
    storage, database = places
    async with storage, database:
        contents = {"c": b"cccc" * 10, "a": b"abcd" * 2_000_000, "b": b"bbb"}
        for alias, content in contents.items():
            file = await example.take_in(storage, database, alias, content)
            assert file.state is example.State.DONE
        with pytest.raises(UniqueViolation, match="alias"):
            await example.take_in(storage, database, "a", b"again")
        assert await example.show(storage, database) == [
            ("a", 8_000_000, b"abcd"), ("b", 3, b"bbb\0"), ("c", 40, b"cccc"),
        ]  # fmt: skip
        await example.forget(storage, database, "b")
        assert [entry[0] for entry in await example.show(storage, database)] == ["a", "c"]
