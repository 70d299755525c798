"""The base installation in an environment of its own: what it takes, what works in it, and what it leaves alone.

Marked soak, since it installs packages: nox -s soak -- tests/reliability/test_installation.py
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import read_private_key
from tests.support.fake_archive import FakeArchive
from tests.support.program import Done, environment, finish
from tests.support.served_fake import ServedFake, serving

pytestmark = pytest.mark.soak

PROJECT = Path(__file__).parents[2]
PACKAGES, MEGABYTES = 23, 40
TOOLS = {"pip", "setuptools", "wheel"}
"""What `python -m venv` itself installs."""


@attrs.frozen
class Environment:
    """An environment that has the base installation alone."""

    folder: Path

    def run(self, program: str, *arguments: object, cwd: Path, **variables: str) -> Done:
        """Run one of its programs."""
        clean = {name: value for name, value in environment(**variables).items() if name != "PYTHONPATH"}
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        pipe = subprocess.PIPE
        return finish(
            subprocess.Popen(command, cwd=cwd, env=clean, text=True, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        )

    @property
    def packages(self) -> set[str]:
        """The names of the distributions in it."""
        listed = self.run("pip", "list", "--format", "json", "--disable-pip-version-check", cwd=self.folder)
        return {each["name"].lower() for each in json.loads(listed.out)} - TOOLS

    @property
    def size(self) -> int:
        """Bytes of the installed packages, compiled."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        tools = tuple(str(site / name) for name in (*TOOLS, "pkg_resources", "_distutils_hack"))
        files = [path for path in site.rglob("*") if path.is_file() and not str(path).startswith(tools)]
        return sum(path.stat().st_size for path in files)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    installed = Environment(folder)
    done = installed.run("pip", "install", "-q", "--disable-pip-version-check", PROJECT, cwd=folder)
    assert done.code == 0, done.err
    return installed


def test_it_is_light(base: Environment) -> None:
    print(f"{len(base.packages)} packages, {base.size / 1e6:.1f} MB: {', '.join(sorted(base.packages))}")
    assert len(base.packages) <= PACKAGES
    assert base.size <= MEGABYTES * 1e6


def test_transfers_work(base: Environment, tmp_path: Path) -> None:
    def connector(*arguments: object, program: str = "connector", code: int = 0, **variables: str) -> Done:
        done = base.run(program, *arguments, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path / "state"), **variables)
        assert done.code == code, done.err
        return done

    connector("keygen", "--sk", "my.sec", "--pk", "my.pub", "--nocrypt")
    archive = FakeArchive(KeyPair.of(read_private_key(tmp_path / "my.sec", str)))
    content = random.Random(1).randbytes(300_000)
    archive.add_file("GHGAF01", content)
    (tmp_path / "a.bam").write_bytes(content)
    with serving(ServedFake(archive)) as server:
        access: dict[str, Any] = {
            "CONNECTOR_WKVS_URL": f"{server.url}/wkvs",
            "CONNECTOR_ACCESS_TOKEN": archive.access_token,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
        }
        connector("download", "--output-dir", "out", program="crypt4gh-connector", **access)
        archive.package_type = "upload"
        connector("upload", "a.bam", **access)
    assert archive.opened("a.bam") == content
    connector("decrypt", "out/GHGAF01.bin.c4gh", "--my-private-key-path", "my.sec")
    assert (tmp_path / "out" / "GHGAF01.bin").read_bytes() == content
    connector("encrypt", "a.bam", "--recipient-public-key-path", "my.pub")
    connector("decrypt", "a.bam.c4gh", "--output-dir", "opened", "--my-private-key-path", "my.sec")
    assert (tmp_path / "opened" / "a.bam").read_bytes() == content
    for command in (["demo"], ["archive", "serve", "--root", "archive"]):
        assert "crypt4gh-connector[archive]" in connector(*command, code=2).err


TEST = """
import sys

def test_nothing_of_ours_is_loaded():
    assert not [name for name in sys.modules if name.partition(".")[0] in ("connector", "persistence")]
"""


def test_pytest_loads_nothing_of_ours(base: Environment, tmp_path: Path) -> None:
    done = base.run("pip", "install", "-q", "--disable-pip-version-check", "pytest", cwd=base.folder)
    assert done.code == 0, done.err
    (tmp_path / "test_it.py").write_text(TEST)
    done = base.run("pytest", "-q", "test_it.py", cwd=tmp_path, PYTEST_ADDOPTS="")
    assert (done.code, "1 passed" in done.out) == (0, True), done.out + done.err
