"""Key files: read in the forms that people have, made so that nobody else can read them."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sysconfig
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crypt4gh.keys import get_private_key, get_public_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

from connector.crypt4gh.keys import KeyPair
from connector.errors import FileExistsAlready, LocalError, UsageError
from connector.local.key_files import read_private_key, read_public_key, write_key_pair

KEYGEN = Path(sysconfig.get_path("scripts"), "crypt4gh-keygen")
SSH_KEYGEN = shutil.which("ssh-keygen") or ""
needs_ssh = pytest.mark.skipif(not SSH_KEYGEN, reason="no ssh-keygen")


def never() -> str:
    raise AssertionError("nobody should be asked for a passphrase")


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "my.sec", tmp_path / "my.pub"


@pytest.mark.parametrize("passphrase", [None, "", "correct horse", "pässwörd \N{CAT FACE}", "\udcfc", "x" * 1000])
def test_what_is_written_is_read(paths: tuple[Path, Path], passphrase: str | None) -> None:
    pair = write_key_pair(*paths, passphrase=passphrase)
    assert read_public_key(paths[1]) == pair.public
    assert read_private_key(paths[0], (lambda: passphrase) if passphrase else never) == pair.private
    assert KeyPair.of(pair.private) == pair


def test_a_protected_key_is_not_in_its_file(paths: tuple[Path, Path]) -> None:
    pair = write_key_pair(*paths, passphrase="secret")
    body = base64.b64decode(paths[0].read_bytes().split(b"\n")[1])
    assert pair.private not in body
    assert b"scrypt" in body


def test_two_keys_differ(tmp_path: Path) -> None:
    pairs = [write_key_pair(tmp_path / f"{n}.sec", tmp_path / f"{n}.pub", passphrase=None) for n in range(2)]
    assert pairs[0].private != pairs[1].private


def test_a_private_key_is_its_owners_alone(paths: tuple[Path, Path]) -> None:
    before = os.umask(0)
    try:
        write_key_pair(*paths, passphrase=None)
    finally:
        os.umask(before)
    assert paths[0].stat().st_mode & 0o777 == 0o600
    assert paths[1].stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("there", [0, 1])
def test_a_key_is_never_overwritten(paths: tuple[Path, Path], there: int) -> None:
    paths[there].write_text("precious")
    with pytest.raises(FileExistsAlready, match="exists already"):
        write_key_pair(*paths, passphrase=None)
    assert paths[there].read_text() == "precious"
    assert not paths[1 - there].exists()


def test_a_link_that_leads_nowhere_is_not_written_through(paths: tuple[Path, Path], tmp_path: Path) -> None:
    paths[0].symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError):
        write_key_pair(*paths, passphrase=None)
    assert not (tmp_path / "elsewhere").exists()


def test_both_files_cannot_be_one(paths: tuple[Path, Path]) -> None:
    with pytest.raises((UsageError, LocalError)):
        write_key_pair(paths[0], paths[0], passphrase=None)
    assert not paths[0].exists()


def test_half_a_pair_is_not_left_behind(paths: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        write_key_pair(paths[0], tmp_path / "missing" / "my.pub", passphrase=None)
    assert not paths[0].exists()


def test_a_wrong_passphrase_is_said_to_be_that_and_nothing_is_printed(
    paths: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    write_key_pair(*paths, passphrase="right")
    for given, hint in (("wrong", "right one"), ("wrong\n", "line break")):
        with pytest.raises(UsageError, match=rf"passphrase .* wrong.*{hint}"):
            read_private_key(paths[0], partial(str, given))
    with pytest.raises(UsageError):
        read_private_key(paths[0], lambda: "")
    assert capfd.readouterr() == ("", "")


def test_one_kind_given_for_the_other(paths: tuple[Path, Path]) -> None:
    write_key_pair(*paths, passphrase=None)
    with pytest.raises(UsageError, match="a private key") as caught:
        read_public_key(paths[0])
    assert "secret" in caught.value.hint
    with pytest.raises(UsageError, match="no Crypt4GH private"):
        read_private_key(paths[1], never)


def test_a_private_key_is_not_shown() -> None:
    pair = KeyPair(b"p" * 32, b"q" * 32)
    assert "ppp" not in repr(pair)


def ssh_pair(folder: Path, *options: str, words: str = "", kind: str = "ed25519") -> tuple[Path, Path]:
    """A pair of keys that OpenSSH made."""
    path = folder / f"id_{kind}"
    subprocess.run([SSH_KEYGEN, "-q", "-t", kind, "-N", words, "-f", path, *options], check=True, capture_output=True)
    return path, path.with_suffix(".pub")


@needs_ssh
@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", []),
        ("pässwörd \N{CAT FACE}", []),
        ("x y", ["-Z", "aes256-cbc", "-a", "1"]),
        ("x y", ["-Z", "aes128-ctr", "-a", "1"]),
        ("x y", ["-Z", "aes192-ctr", "-a", "1"]),
        ("x y", ["-Z", "aes128-cbc", "-a", "1"]),
        ("x y", ["-Z", "aes192-cbc", "-a", "1"]),
    ],
)
def test_an_openssh_key_is_read_as_crypt4gh_reads_it(
    tmp_path: Path, words: str, options: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    private, public = ssh_pair(tmp_path, *options, words=words)
    key = read_private_key(private, (lambda: words) if words else never)
    assert key == get_private_key(private, lambda: words)
    assert KeyPair.of(key).public == read_public_key(public) == get_public_key(public)
    if words:
        for wrong in ("wrong", ""):
            with pytest.raises(UsageError, match=r"passphrase .* wrong"):
                read_private_key(private, partial(str, wrong))
    assert capfd.readouterr() == ("", "")


@needs_ssh
def test_an_openssh_key_of_a_cipher_that_crypt4gh_does_not_know(tmp_path: Path) -> None:
    private, public = ssh_pair(tmp_path, "-Z", "aes256-gcm@openssh.com", words="x")
    assert KeyPair.of(read_private_key(private, lambda: "x")).public == read_public_key(public)
    private.unlink()
    ssh_pair(tmp_path, "-Z", "chacha20-poly1305@openssh.com", words="x")
    with pytest.raises(UsageError, match="ssh-keygen -p"):
        read_private_key(private, never)


@needs_ssh
@pytest.mark.parametrize("words", ["", "x"])
def test_an_openssh_key_of_another_kind_is_refused(tmp_path: Path, words: str) -> None:
    private, public = ssh_pair(tmp_path, kind="ecdsa", words=words)
    with pytest.raises(UsageError, match="no Crypt4GH private"):
        read_private_key(private, lambda: words)
    with pytest.raises(UsageError, match="no Crypt4GH public"):
        read_public_key(public)


@needs_ssh
def test_an_openssh_key_given_for_the_other_or_damaged(tmp_path: Path) -> None:
    private, public = ssh_pair(tmp_path)
    with pytest.raises(UsageError, match="a private key"):
        read_public_key(private)
    with pytest.raises(UsageError, match="no Crypt4GH private"):
        read_private_key(public, never)
    whole = private.read_bytes()
    for size in range(0, len(whole) - 40, 29):
        private.write_bytes(whole[:size] + whole[-37:])
        with pytest.raises(UsageError):
            read_private_key(private, lambda: "x")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_byte_order_mark_before_a_key(paths: tuple[Path, Path], encoding: str) -> None:
    pair = write_key_pair(*paths, passphrase=None)
    ssh = paths[0].with_name("ssh.pub")
    key = Ed25519PrivateKey.generate().public_key()
    ssh.write_bytes(key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH))
    for path in (*paths, ssh):
        text = path.read_text().replace("\n", "\r\n")
        path.write_bytes((("\ufeff" if encoding == "utf-16-be" else "") + text).encode(encoding))
    assert read_public_key(paths[1]) == pair.public
    assert read_private_key(paths[0], never) == pair.private
    assert read_public_key(ssh) == crypto_sign_ed25519_pk_to_curve25519(key.public_bytes_raw())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_key_in_a_pipe_is_read_once(paths: tuple[Path, Path]) -> None:
    pair = write_key_pair(*paths, passphrase=None)
    for path, read, expected in ((paths[0], lambda p: read_private_key(p, never), pair.private),
                                 (paths[1], read_public_key, pair.public)):  # fmt: skip
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        assert read(path) == expected
        writer.join(60)


def test_a_huge_file_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    for read in (read_public_key, lambda path: read_private_key(path, never)):
        with pytest.raises(UsageError, match="64 KiB"):
            read(path)


def pem(kind: str, body: bytes) -> bytes:
    text = base64.b64encode(body)
    return b"-----BEGIN CRYPT4GH %s KEY-----\n%s\n-----END CRYPT4GH %s KEY-----\n" % (
        kind.encode(),
        text,
        kind.encode(),
    )


PLAIN = b"c4gh-v1\x00\x04none\x00\x04none"
PBKDF2 = b"c4gh-v1\x00\x12pbkdf2_hmac_sha256"
SEALED = b"\x00\x11chacha20_poly1305\x00\x3c" + bytes(60)
BAD = {
    "empty": b"",
    "text": b"hello\n",
    "binary": bytes(range(256)),
    "no body": pem("PRIVATE", b""),
    "no base64": b"-----BEGIN CRYPT4GH PRIVATE KEY-----\n%%%\n-----END CRYPT4GH PRIVATE KEY-----\n",
    "cut base64": b"-----BEGIN CRYPT4GH PRIVATE KEY-----\nYzRnaC12\n-----END CRYPT4GH PRIVATE KEY-----\n",
    "one line": b"-----BEGIN CRYPT4GH PRIVATE KEY-----\n",
    "short key": pem("PRIVATE", PLAIN + b"\x00\x03abc"),
    "long key": pem("PRIVATE", PLAIN + b"\x00\x40" + bytes(64)),
    "unknown cipher": pem("PRIVATE", b"c4gh-v1\x00\x04none\x00\x03rot\x00\x20" + bytes(32)),
    "unknown kdf": pem("PRIVATE", b"c4gh-v1\x00\x03md5\x00\x04\0\0\0\0\x00\x11chacha20_poly1305\x00\x20" + bytes(32)),
    "cut options": pem("PRIVATE", b"c4gh-v1\x00\x06scrypt\x00\x14"),
    "cut data": pem("PRIVATE", b"c4gh-v1\x00\x06scrypt\x00\x04\0\0\0\0\x00\x11chacha20_poly1305\x00\x3c\x01"),
    "no rounds": pem("PRIVATE", PBKDF2 + b"\x00\x04\0\0\0\0" + SEALED),
    "short public": pem("PUBLIC", bytes(31)),
    "short ssh": b"ssh-ed25519 AAAA\n",
    "ssh alone": b"ssh-ed25519\n",
    "ssh no base64": b"ssh-ed25519 %%%% me\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_key(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(BAD[name])
    with pytest.raises(UsageError, match=r"(public|private) key|passphrase"):
        read_public_key(path)
    with pytest.raises(UsageError, match=r"no Crypt4GH private|passphrase"):
        read_private_key(path, lambda: "x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(LocalError, match="the public key"):
            read_public_key(path)
        with pytest.raises(LocalError, match="the private key"):
            read_private_key(path, never)


@pytest.mark.skipif(not KEYGEN.exists(), reason="no crypt4gh-keygen beside this interpreter")
def test_a_key_that_crypt4gh_made_is_read(paths: tuple[Path, Path]) -> None:
    subprocess.run([KEYGEN, "-f", "--nocrypt", "--sk", paths[0], "--pk", paths[1]], check=True, capture_output=True)
    assert KeyPair.of(read_private_key(paths[0], never)).public == read_public_key(paths[1])


def test_a_compressed_point_is_of_another_kind_of_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    formats = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, *formats)
    body = base64.b64decode(b"".join(private.splitlines()[1:-1]))
    begin, end = private.splitlines()[0], private.splitlines()[-1]
    written = base64.b64encode(body.replace(b"\0\0\0\x41\x04", b"\0\0\0\x41\x02"))
    (tmp_path / "a.sec").write_bytes(b"\n".join([begin, written, end, b""]))
    with pytest.raises(UsageError, match="no Crypt4GH private"):
        read_private_key(tmp_path / "a.sec", never)
    kind, text = (
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).split()
    )
    body = base64.b64decode(text).replace(b"\0\0\0\x41\x04", b"\0\0\0\x41\x02")
    (tmp_path / "a.pub").write_bytes(b" ".join([kind, base64.b64encode(body)]))
    with pytest.raises(UsageError, match="no Crypt4GH public"):
        read_public_key(tmp_path / "a.pub")
