"""Files and keys go back and forth between us and the independent ``crypt4gh`` command line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPTS = Path(sysconfig.get_path("scripts"))
CRYPT4GH, KEYGEN = SCRIPTS / "crypt4gh", SCRIPTS / "crypt4gh-keygen"
PASSPHRASE = "correct horse battery staple"
SIZES = [0, 200_000]

pytestmark = pytest.mark.skipif(not CRYPT4GH.exists(), reason="no crypt4gh beside this interpreter")


class Bench:
    """Both programs, with one pair of keys made by one of them."""

    def __init__(self, folder: Path, maker: str, protected: bool) -> None:
        self.folder = folder
        self.secret, self.public = folder / "my.sec", folder / "my.pub"
        self.passphrase = PASSPHRASE if protected else None
        nocrypt = [] if protected else ["--nocrypt"]
        if maker == "connector":
            self.connector("keygen", "--sk", self.secret, "--pk", self.public, *nocrypt)
        else:
            # Without a terminal it reads the passphrase, twice, from standard input.
            words = f"{PASSPHRASE}\n{PASSPHRASE}\n" if protected else ""
            self._run([KEYGEN, "-f", *nocrypt, "--sk", self.secret, "--pk", self.public], {}, words.encode())

    def connector(self, *arguments: str | Path) -> bytes:
        words = {"CONNECTOR_PASSPHRASE": self.passphrase} if self.passphrase else {}
        words["CONNECTOR_CONFIG"] = os.devnull
        return self._run([sys.executable, "-m", "connector", *arguments], words, b"")

    def crypt4gh(self, *arguments: str | Path, data: bytes) -> bytes:
        words = {"C4GH_PASSPHRASE": self.passphrase} if self.passphrase else {}
        return self._run([CRYPT4GH, *arguments], words, data)

    def _run(self, command: list[str | Path], environment: Mapping[str, str], data: bytes) -> bytes:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            env={**os.environ, **environment},
            timeout=60,
            cwd=self.folder,
            start_new_session=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture(params=["connector", "crypt4gh"])
def maker(request: pytest.FixtureRequest) -> str:
    """Who made the keys."""
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["bare", "protected"])
def bench(tmp_path: Path, maker: str, request: pytest.FixtureRequest) -> Bench:
    return Bench(tmp_path, maker, bool(request.param))


def plaintexts(folder: Path) -> dict[Path, bytes]:
    files = {folder / f"{size}.bin": random.Random(size).randbytes(size) for size in SIZES}
    for path, data in files.items():
        path.write_bytes(data)
    return files


def test_what_we_write_crypt4gh_decrypts(bench: Bench) -> None:
    files = plaintexts(bench.folder)
    bench.connector(
        "encrypt", *files, "--recipient-public-key-path", bench.public, "--my-private-key-path", bench.secret
    )
    for path, data in files.items():
        sealed = Path(f"{path}.c4gh").read_bytes()
        assert sealed[:8] == b"crypt4gh"
        assert bench.crypt4gh("decrypt", "--sk", bench.secret, data=sealed) == data


def test_what_crypt4gh_writes_we_decrypt(bench: Bench) -> None:
    files = plaintexts(bench.folder)
    for path, data in files.items():
        sealed = bench.crypt4gh("encrypt", "--sk", bench.secret, "--recipient_pk", bench.public, data=data)
        Path(f"{path}.c4gh").write_bytes(sealed)
        path.unlink()
    bench.connector(
        "decrypt",
        "--input-dir",
        bench.folder,
        "--my-private-key-path",
        bench.secret,
        "--my-public-key-path",
        bench.public,
    )
    for path, data in files.items():
        assert path.read_bytes() == data


def test_without_a_key_of_our_own_others_can_still_decrypt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "crypt4gh", protected=False)
    (tmp_path / "x").write_bytes(b"hello")
    bench.connector("encrypt", "x", "--recipient-public-key-path", bench.public)
    assert bench.crypt4gh("decrypt", "--sk", bench.secret, data=(tmp_path / "x.c4gh").read_bytes()) == b"hello"


def test_what_was_encrypted_for_others_too(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    ours, theirs = Bench(tmp_path, "connector", protected=False), Bench(tmp_path / "other", "crypt4gh", protected=False)
    sealed = ours.crypt4gh("encrypt", "--recipient_pk", theirs.public, "--recipient_pk", ours.public, data=b"hello")
    (tmp_path / "x.c4gh").write_bytes(sealed)
    ours.connector("decrypt", "x.c4gh", "--my-private-key-path", ours.secret)
    assert (tmp_path / "x").read_bytes() == b"hello"
