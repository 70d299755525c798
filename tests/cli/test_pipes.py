"""`-`: encrypting and decrypting between pipes, as other programs of a pipeline do."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connector.local.key_files import read_private_key, read_public_key, write_key_pair
from connector.recrypt import decrypt_pipe, encrypt_pipe
from tests.support.pipe_memory import MemoryReader, MemoryWriter

CRYPT4GH = Path(sysconfig.get_path("scripts"), "crypt4gh")
PIECE = 64 * 65536

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and terminals as Unix has them")


class Shell:
    """A folder with a key pair, in which commands run with bytes as standard input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)

    def run(
        self, *arguments: str | Path, data: bytes | int = b"", environment: Mapping[str, str] = {}, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        given: dict[str, Any] = {"input": data} if isinstance(data, bytes) else {"stdin": data}
        done = subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            cwd=self.folder,
            env=self.environment(environment),
            timeout=180,
            **{"capture_output": True, **given, **options},
        )
        assert b"Traceback" not in (done.stderr or b""), done.stderr
        return done

    def environment(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        return {
            **inherited,
            "CONNECTOR_CONFIG": os.devnull,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
            "XDG_STATE_HOME": str(self.folder / "state"),
            **more,
        }

    def encrypted(self, data: bytes) -> bytes:
        """The data encrypted for the key pair, in this process."""
        target = MemoryWriter()
        recipient = read_public_key(self.folder / "my.pub")
        for _ in encrypt_pipe(MemoryReader(data), target, b"w" * 32, [recipient]):  # type: ignore[arg-type]
            pass
        return bytes(target.data)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_what_goes_in_comes_out_again(shell: Shell) -> None:
    sealed = shell.run("encrypt", "-", "--recipient-public-key-path", "my.pub", data=noise(5_000_000))
    assert sealed.returncode == 0, sealed.stderr
    done = shell.run("decrypt", "-", data=sealed.stdout)
    assert (done.returncode, done.stdout) == (0, noise(5_000_000))
    assert b"-: decrypted, " in done.stderr


@pytest.mark.parametrize("size", [0, 1, 65536, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_at_the_borders_of_pieces(shell: Shell, size: int) -> None:
    sealed, target = shell.encrypted(noise(size)), MemoryWriter()
    assert len(sealed) == 124 + size + 28 * -(-size // 65536)
    private_key = read_private_key(shell.folder / "my.sec", str)
    for _ in decrypt_pipe(MemoryReader(sealed), target, [private_key]):  # type: ignore[arg-type]
        pass
    assert target.data == noise(size)


@pytest.mark.skipif(not CRYPT4GH.exists(), reason="no crypt4gh beside this interpreter")
def test_in_a_pipeline_with_crypt4gh(shell: Shell) -> None:
    size = 100_000
    decrypt: Sequence[str | Path] = [CRYPT4GH, "decrypt", "--sk", shell.folder / "my.sec"]
    sealed = shell.run("encrypt", "-", "--recipient-public-key-path", "my.pub", data=noise(size)).stdout
    assert subprocess.run(decrypt, input=sealed, capture_output=True, check=True).stdout == noise(size)
    encrypt: Sequence[str | Path] = [CRYPT4GH, "encrypt", "--recipient_pk", shell.folder / "my.pub"]
    sealed = subprocess.run(encrypt, input=noise(size), capture_output=True, check=True).stdout
    assert shell.run("decrypt", "-", data=sealed).stdout == noise(size)


def test_among_files_it_goes_to_standard_output(shell: Shell) -> None:
    for name in ("a", "b"):
        (shell.folder / name).write_text(name)
    key = ("--recipient-public-key-path", "my.pub")
    done = shell.run("encrypt", "a", "-", "b", *key, "--output-dir", "out", data=b"piped")
    assert done.returncode == 0, done.stderr
    assert b"3 of 3 files encrypted." in done.stderr
    assert sorted(os.listdir(shell.folder / "out")) == ["a.c4gh", "b.c4gh"]
    done = shell.run("decrypt", "--input-dir", "out", "a.c4gh", "-", data=done.stdout)
    assert (done.returncode, done.stdout) == (0, b"piped")
    assert (shell.folder / "out" / "a").read_text() == "a"


def test_a_file_as_standard_input_is_read_from_where_it_stands(shell: Shell) -> None:
    (shell.folder / "x").write_bytes(b"skipped" + noise(100_000))
    with (shell.folder / "x").open("rb", buffering=0) as file:
        file.seek(len(b"skipped"))
        sealed = shell.run("encrypt", "-", "--recipient-public-key-path", "my.pub", data=file.fileno())
    assert shell.run("decrypt", "-q", "-", data=sealed.stdout).stdout == noise(100_000)


@pytest.mark.parametrize("cut", [0, 123, 124 + 65564 + 28])
def test_what_is_cut_off_is_told_by_the_exit_code(shell: Shell, cut: int) -> None:
    done = shell.run("decrypt", "-", data=shell.encrypted(noise(200_000))[:cut])
    assert done.returncode == 6, done.stderr
    assert done.stdout == b"", "what stands before it in the same piece does not leave"


def test_a_damaged_segment_does_not_leave(shell: Shell) -> None:
    sealed = bytearray(shell.encrypted(noise(5_000_000)))
    sealed[-1] ^= 1
    done = shell.run("decrypt", "-", data=bytes(sealed))
    assert done.returncode == 6
    assert b"damaged" in done.stderr
    assert noise(5_000_000).startswith(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "keyword"),
    [
        (["-", "-"], b"twice"),
        (["-", "--json"], b"--json"),
        (["-", "--output-dir", "out"], b"--output-dir"),
        (["-", "--passphrase-file", "-", "--my-private-key-path", "locked.sec"], b"both"),
    ],
)
def test_what_contradicts_itself(shell: Shell, arguments: list[str], keyword: bytes) -> None:
    write_key_pair(shell.folder / "locked.sec", shell.folder / "locked.pub", passphrase="x")
    done = shell.run("decrypt", *arguments, data=b"crypt4gh")
    assert done.returncode == 2
    assert keyword in done.stderr
    assert not (shell.folder / "out").exists()


def test_nothing_binary_goes_to_a_terminal(shell: Shell) -> None:
    ours, theirs = os.openpty()
    try:
        done = shell.run(
            "encrypt", "-", "--recipient-public-key-path", "my.pub",
            data=b"x", capture_output=False, stdout=theirs, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_reader_that_has_enough(shell: Shell, command: str) -> None:
    """As in `connector decrypt - < FILE | head`: one sentence, and no success."""
    data = noise(9_000_000) if command == "encrypt" else shell.encrypted(noise(9_000_000))
    (shell.folder / "data").write_bytes(data)
    ours, theirs = os.pipe()
    options = ("--recipient-public-key-path", "my.pub") if command == "encrypt" else ()
    with (shell.folder / "data").open("rb") as file, os.fdopen(ours, "rb") as reader:
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", command, "-", *options],
            cwd=shell.folder, env=shell.environment(), stdin=file, stdout=theirs, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(theirs)
        reader.read(100)
        reader.close()
        _, said = process.communicate(timeout=180)
    assert process.returncode == 3, said
    assert said.count(b"\n") == 1
    assert b"Broken pipe" in said


def test_a_pipe_that_nobody_fills_is_left_when_asked_to(shell: Shell) -> None:
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", "decrypt", "-", "--until", "+1s"],
            cwd=shell.folder, env=shell.environment(), stdin=ours, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        _, said = process.communicate(timeout=180)
        assert process.returncode == 75, said
    finally:
        os.close(ours)
        os.close(theirs)


def test_standard_output_that_is_closed(shell: Shell) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m connector encrypt - --recipient-public-key-path my.pub >&-', sys.executable],
        cwd=shell.folder, env=shell.environment(), input=b"x", stderr=subprocess.PIPE, timeout=180,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert b"standard output" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["encrypt", "-", "--recipient-public-key-path", "my.pub"],
        ["decrypt", "-"],
        ["ls", "--wkvs-url", "http://127.0.0.1:1/", "--token-file", "-"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_standard_input_that_is_closed_has_not_ended(shell: Shell, arguments: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m connector "$@" <&-', sys.executable, *arguments],
        cwd=shell.folder, env=shell.environment(), capture_output=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert b"standard input" in done.stderr


@pytest.mark.parametrize(
    ("words", "data", "says"),
    [
        (["upload", "--tsv", "-"], b"a\tA\nb\n", b"-, line 2: there is no alias"),
        (["rm", "--yes", "--tsv", "-"], b"# none\n", b"-: no files"),
        (["upload", "--tsv", "-"], b"a\tA\n", b"both the data and the access token"),
        (["upload", "--tsv", "-", "--token-file", "-"], b"a\tA\n", b"both the data and the token"),
    ],
)
def test_a_list_in_standard_input(shell: Shell, words: list[str], data: bytes, says: bytes) -> None:
    done = shell.run(*words, "--wkvs-url", "http://127.0.0.1:1/x", data=data)
    assert says in done.stderr
    assert done.returncode == 2


def test_one_file_of_another_name_does_not_stop_the_others(shell: Shell) -> None:
    (shell.folder / "a.c4gh").write_bytes(shell.encrypted(b"a"))
    (shell.folder / "b").write_bytes(b"own")
    done = shell.run("decrypt", "b", "a.c4gh", "--json")
    assert (done.returncode, (shell.folder / "a").read_bytes(), (shell.folder / "b").read_bytes()) == (2, b"a", b"own")
    assert b"does not end with .c4gh" in done.stdout
    done = shell.run("encrypt", ".", "b", "--recipient-public-key-path", "my.pub")
    assert (done.returncode, (shell.folder / "b.c4gh").exists()) == (2, True)
