"""The examples of docs/pipelines.md, run as they are there."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

import connector
from connector.local.key_files import write_key_pair
from persistence.objects.memory import MemoryStorage
from tests.support.pipeline_site import Site

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
EXAMPLES = [
    (heading, example)
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    for heading in [section.partition("\n")[0]]
    for example in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
]
LAST = "A transfer of your own"


@pytest.mark.parametrize(("heading", "example"), EXAMPLES[:-1], ids=[heading for heading, _ in EXAMPLES[:-1]])
def test_an_example(
    site: Site, heading: str, example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "upload_files" in example:
        site.archive.package_type = "upload"
        site.archive.interrogates_at = 1
    (site.folder / "results").mkdir()
    for name in ("sample.bam", "results/calls.vcf.gz"):
        (site.folder / name).write_bytes(os.urandom(100_000))
    write_key_pair(site.folder / "colleague.sec", site.folder / "colleague.pub", passphrase=None)
    example = example.replace("https://archive.example/.well-known", site.url)
    if "multiprocessing" in example:
        done = site.script(example)
        assert done.code == 0, done.err
        printed = done.out
    else:
        monkeypatch.chdir(site.folder)
        for name, value in site.variables.items():
            monkeypatch.setenv(name, value)
        code = compile(example, str(PAGE), "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT if heading == "Notebooks" else 0)
        names: dict[str, Any] = {"__name__": "__main__"}
        running = eval(code, names)
        if inspect.iscoroutine(running):
            asyncio.run(running)
        printed = capsys.readouterr().out or repr(names["results"])
    expected = {"Progress": ["SAMPLE_1.vcf.gz", "done"], "On this machine": ["opened/sample.bam"]}
    downloads = [f"data/GHGAF0000000000000{number}.bin" for number in (1, 2)]
    assert all(each in printed for each in expected.get(heading, downloads))
    assert "failed" not in printed


def test_the_transfer_of_your_own(tmp_path: Path) -> None:
    heading, example = EXAMPLES[-1]
    assert heading == LAST
    assert len(example.splitlines()) <= 60
    module = ModuleType("own_transfer")
    sys.modules[module.__name__] = module
    try:
        exec(compile(example, str(PAGE), "exec"), module.__dict__)
        contents = {"empty": b"", "large": os.urandom(20_000_000), "small": b"x"}

        async def main() -> None:
            async with MemoryStorage() as storage:
                await storage.create_bucket("bucket")
                for name, content in contents.items():
                    await storage.put_object("bucket", name, content)
                results = await module.copy_objects(storage, "bucket", tmp_path)
                assert [result.unwrap() for result in results] == [tmp_path / name for name in contents]
                missing = module.CopyObject(storage, "bucket", "missing", tmp_path)
                with pytest.raises(connector.LocalError, match="missing"):
                    await missing.open()

        trio.run(main)
    finally:
        del sys.modules[module.__name__]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
