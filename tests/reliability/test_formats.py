"""Keys and files as the specification has them, through the command line, and against `crypt4gh` both ways."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import crypt4gh.header
import crypt4gh.lib
import pytest
from crypt4gh.keys import get_private_key, get_public_key
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from tests.support import program
from tests.support.desk import Desk

SSH_KEYGEN = shutil.which("ssh-keygen") or ""
PLAIN = random.Random(22).randbytes(300_000)


def run(*arguments: str | Path, code: int = 0, passphrase: str = "", **environment: str) -> str:
    environment = {"CONNECTOR_CONFIG": os.devnull, "CONNECTOR_PASSPHRASE": passphrase, **environment}
    if program.NAMED:
        done = program.Program(Path.cwd(), environment).run(*arguments)
        assert done.code == code, done.err
        return done.err
    desk = Desk(environment=environment)
    assert desk.run(*arguments) == code, desk.said
    return desk.said


@pytest.fixture
def keys(tmp_path: Path) -> list[Path]:
    """The private keys of Alice and Bob, ending with `.sec`; the public ones end with `.pub`."""
    for name in ("alice", "bob"):
        write_key_pair(tmp_path / f"{name}.sec", tmp_path / f"{name}.pub", passphrase=None)
    return [tmp_path / "alice.sec", tmp_path / "bob.sec"]


def pair(private: Path) -> KeyPair:
    return KeyPair.of(get_private_key(private, None))


def encrypted(folder: Path, recipient: Path) -> Path:
    (folder / "x").write_bytes(PLAIN)
    run("encrypt", folder / "x", "--recipient-public-key-path", recipient.with_suffix(".pub"))
    return folder / "x.c4gh"


def decrypted(path: Path, *private: Path, passphrase: str = "") -> bytes:
    output = path.parent / "out"
    options = [argument for key in private for argument in ("--my-private-key-path", key)]
    run("decrypt", path, *options, "--output-dir", output, "--overwrite", passphrase=passphrase)
    return (output / path.stem).read_bytes()


def read_by_crypt4gh(path: Path, private: bytes) -> bytes:
    out = io.BytesIO()
    with path.open("rb") as file:
        crypt4gh.lib.decrypt([(0, private, None)], file, out)
    return out.getvalue()


@pytest.mark.skipif(not SSH_KEYGEN, reason="no ssh-keygen")
@pytest.mark.parametrize("passphrase", ["", "pass phrase"])
def test_openssh_keys_both_ways(tmp_path: Path, passphrase: str) -> None:
    key, public = tmp_path / "id", tmp_path / "id.pub"
    subprocess.run([SSH_KEYGEN, "-q", "-t", "ed25519", "-N", passphrase, "-f", key], check=True)
    path = encrypted(tmp_path, key)
    private = get_private_key(key, lambda: passphrase)
    assert read_by_crypt4gh(path, private) == PLAIN
    assert decrypted(path, key, passphrase=passphrase) == PLAIN
    with path.open("wb") as file:
        crypt4gh.lib.encrypt([(0, b"w" * 32, get_public_key(public))], io.BytesIO(PLAIN), file)
    assert decrypted(path, key, passphrase=passphrase) == PLAIN
    if passphrase:
        said = run("decrypt", path, "--my-private-key-path", key, "--overwrite", code=2, passphrase="wrong")
        assert "passphrase" in said


@pytest.mark.parametrize("trim", [False, True])
def test_reencrypt_both_ways(tmp_path: Path, keys: Sequence[Path], trim: bool) -> None:
    alice, bob = map(pair, keys)
    path = encrypted(tmp_path, keys[0])
    for source in (path.read_bytes(), twice(path.read_bytes(), alice, bob)):
        with path.open("wb") as file:
            recipients = [(0, alice.private, bob.public)]
            crypt4gh.lib.reencrypt([(0, alice.private, None)], recipients, io.BytesIO(source), file, trim=trim)
        assert decrypted(path, keys[1]) == PLAIN == read_by_crypt4gh(path, bob.private)
        assert decrypted(path, *keys) == PLAIN


def twice(data: bytes, alice: KeyPair, bob: KeyPair) -> bytes:
    """The file with a second packet, for Alice, made by `crypt4gh reencrypt` without trimming."""
    out = io.BytesIO()
    recipients = [(0, alice.private, bob.public), (0, alice.private, alice.public)]
    crypt4gh.lib.reencrypt([(0, alice.private, None)], recipients, io.BytesIO(data), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("offset", "span"), [(0, 100), (65_530, 20), (70_000, None), (299_000, 101_000), (131_072, 65_536), (1, None)]
)
def test_rearrange_both_ways(tmp_path: Path, keys: Sequence[Path], offset: int, span: int | None) -> None:
    alice = pair(keys[0])
    path = encrypted(tmp_path, keys[0])
    source = path.read_bytes()
    with path.open("wb") as file:
        own = [(0, alice.private, alice.public)]
        crypt4gh.lib.rearrange(own, io.BytesIO(source), file, offset=offset, span=span)
    expected = PLAIN[offset : None if span is None else offset + span]
    assert decrypted(path, keys[0]) == expected
    assert read_by_crypt4gh(path, alice.private) == expected


def test_several_private_keys_are_tried_for_each_file(tmp_path: Path, keys: Sequence[Path]) -> None:
    for name, key in (("a", keys[0]), ("b", keys[1])):
        (tmp_path / name).write_text(name)
        run("encrypt", tmp_path / name, "--recipient-public-key-path", key.with_suffix(".pub"))
        (tmp_path / name).unlink()
    options = [argument for key in keys for argument in ("--my-private-key-path", key)]
    assert "2 of 2" in run("decrypt", "--input-dir", tmp_path, *options)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]
    public = ("--my-public-key-path", keys[1].with_suffix(".pub"))
    assert "2 of 2" in run("decrypt", "--input-dir", tmp_path, *options, *public)
    write_key_pair(tmp_path / "eve.sec", tmp_path / "eve.pub", passphrase=None)
    public = ("--my-public-key-path", tmp_path / "eve.pub")
    assert "public key" in run("decrypt", "--input-dir", tmp_path, *options, *public, code=2)
    said = run(
        "decrypt",
        tmp_path / "a.c4gh",
        "--my-private-key-path",
        tmp_path / "eve.sec",
        "--output-dir",
        tmp_path / "o",
        code=6,
    )
    assert "different key" in said


DATA_KEY = crypt4gh.header.make_packet_data_enc(0, b"k" * 32)


def edit_list(*lengths: int) -> bytes:
    return struct.pack(f"<II{len(lengths)}Q", 1, len(lengths), *lengths)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([DATA_KEY + bytes(60)], PLAIN),
        ([DATA_KEY, edit_list()], PLAIN),
        ([DATA_KEY, edit_list(10, 10**9)], PLAIN[10:]),
        ([DATA_KEY, edit_list(10**9)], b""),
        ([DATA_KEY, edit_list(5, 100) + bytes(16)], PLAIN[5:105]),
        ([DATA_KEY, edit_list(5, 100, 7)], PLAIN[5:105] + PLAIN[112:]),
        ([DATA_KEY, edit_list(0, 0, 3, 4)], PLAIN[3:7]),
        ([edit_list(5, 100), DATA_KEY], PLAIN[5:105]),
        ([DATA_KEY, DATA_KEY], PLAIN),
        ([edit_list(5, 100)], None),
        ([DATA_KEY, edit_list(1), edit_list(1)], None),
        ([DATA_KEY[:4] + b"\1" + DATA_KEY[5:]], None),
        ([DATA_KEY[:20]], None),
    ],
    ids=lambda value: None if not isinstance(value, list) else "+".join(str(len(packet)) for packet in value),
)
def test_headers(tmp_path: Path, keys: Sequence[Path], packets: Sequence[bytes], expected: bytes | None) -> None:
    """Padded packets, edit lists that are empty or reach beyond the end, headers that the specification forbids."""
    own = [(0, b"w" * 32, pair(keys[0]).public)]
    sealed = [packet for content in packets for packet in crypt4gh.header.encrypt(content, own)]
    nonce, starts = bytes(12), range(0, len(PLAIN), 65536)
    body = [nonce + ChaCha20Poly1305(b"k" * 32).encrypt(nonce, PLAIN[at : at + 65536], None) for at in starts]
    path = tmp_path / "x.c4gh"
    path.write_bytes(crypt4gh.header.serialize(sealed) + b"".join(body))
    if expected is not None:
        assert decrypted(path, keys[0]) == expected
    else:
        run("decrypt", path, "--my-private-key-path", keys[0], code=6)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_any_text(tmp_path: Path, encoding: str) -> None:
    """Keys, settings, secrets and lists, as shells and editors of Windows write them."""
    write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase="pass phrase")
    texts = {
        "settings": 'part_size = "1MiB"\n',
        "secret": "pass phrase\n",
        "token": "x:" + "A" * 80,
        "list": f"{tmp_path / 'x'}\tÄ\n",
        **{name: (tmp_path / name).read_text() for name in ("my.sec", "my.pub")},
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    key = ("--my-private-key-path", tmp_path / "my.sec", "--passphrase-file", tmp_path / "secret")
    config = ("--config", tmp_path / "settings")
    (tmp_path / "x").write_bytes(PLAIN)
    run("encrypt", tmp_path / "x", "--recipient-public-key-path", tmp_path / "my.pub", *key, *config)
    run("decrypt", tmp_path / "x.c4gh", *key, *config, "--output-dir", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_bytes() == PLAIN
    archive = ("--token-file", tmp_path / "token", "--wkvs-url", "http://127.0.0.1:1/", "--retries", "0")
    said = run("upload", "--tsv", tmp_path / "list", *key, *config, *archive, code=5)
    assert "cannot be reached" in said, "all of them were read"


def test_a_huge_file_given_as_a_key(tmp_path: Path, keys: Sequence[Path]) -> None:
    huge = tmp_path / "data"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "x").write_bytes(PLAIN)
    said = run("encrypt", tmp_path / "x", "--recipient-public-key-path", huge, code=2)
    assert str(huge) in said
    path = encrypted(tmp_path, keys[0])
    assert str(huge) in run("decrypt", path, "--my-private-key-path", huge, "--overwrite", code=2)
