"""Every exit code of docs/exit-codes.md, provoked; one failure among many files is never 0."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from connector.session import Components
from tests.support.served_fake import Said, User, saying, silent

DOCUMENT = Path(__file__).parents[2] / "docs" / "exit-codes.md"


def bug(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    class Broken:
        async def package(self) -> None:
            raise RuntimeError("should not happen")

    broken: Any = Broken()
    user.components = Components(packages=broken)
    return user.download()


def usage(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    return user.download("--part-size", "nothing")


def local(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    user.out.mkdir()
    (user.out / "GHGAF01.bin.c4gh").write_bytes(b"mine")
    return user.download()


def refused(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    user.archive.fail("object", 403, {"exception_id": "wrongFileAuthorizationError", "description": "no", "data": {}})
    return user.download()


def broken(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    user.server.play("get", saying(503), times=100)
    return user.download(CONNECTOR_RETRIES="0")


def integrity(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    user.archive.files["GHGAF01"].claims["checksums"] = [{"checksum": "ab" * 32, "type": "sha-256"}]
    return user.download()


def interrupted(number: int) -> Callable[[User, pytest.MonkeyPatch], Said]:
    def by_signal(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
        async def strike(stream: trio.SocketStream, request: httpx.Request) -> None:
            signal.raise_signal(number)  # in whatever thread: its handler runs in the main one
            import trio

            await trio.sleep(1)

        user.server.play("get", strike)
        return user.download()

    return by_signal


def out_of_time(user: User, monkeypatch: pytest.MonkeyPatch) -> Said:
    user.server.play("get", silent, times=100)
    return user.download("--until", "+2s", CONNECTOR_READ_TIMEOUT="20")


CODES = {
    0: lambda user, monkeypatch: user.download(),
    1: bug,
    2: usage,
    3: local,
    4: refused,
    5: broken,
    6: integrity,
    75: out_of_time,
    129: interrupted(signal.SIGHUP),
    130: interrupted(signal.SIGINT),
    138: interrupted(signal.SIGUSR1),
    140: interrupted(signal.SIGUSR2),
    143: interrupted(signal.SIGTERM),
    152: interrupted(signal.SIGXCPU),
}


@pytest.mark.parametrize("code", CODES)
def test_each_code(user: User, data: bytes, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    said = CODES[code](user, monkeypatch)
    assert said.code == code, said.err
    whole = [name for name in user.names if not re.search(r"\.part(\.|$)", name)]
    assert whole == ([] if code not in (0, 3) else ["GHGAF01.bin.c4gh"])
    assert len([line for line in said.err.splitlines() if "Traceback" in line]) == 0


def test_the_document_lists_these_and_no_others() -> None:
    listed = re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert [int(code) for code in listed] == sorted(CODES)


@pytest.mark.parametrize("failing", [0, 3, 6])
def test_one_failed_download_among_many_is_never_0(user: User, failing: int) -> None:
    for number in range(7):
        user.archive.add_file(f"GHGAF0{number}", bytes([number]) * 1000)
    user.archive.files[f"GHGAF0{failing}"].claims["checksums"] = [{"checksum": "ab" * 32, "type": "sha-256"}]
    said = user.download()
    assert said.code == 6
    assert "6 of 7" in said.err
    assert len(user.names) == 6
    again = user.download()
    assert again.code == 6
    assert "6 of them" in again.err


def test_one_failed_upload_among_many_is_never_0(user: User, tmp_path: Path) -> None:
    paths = [tmp_path / f"sample-{number}" for number in range(4)]
    for path in paths:
        path.write_bytes(b"content of " + path.name.encode())
    paths[2].write_bytes(b"")
    said = user.upload(*paths)
    assert said.code == 2
    assert "3 of 4" in said.err
    assert sorted(upload.alias for upload in user.archive.uploads.values()) == ["sample-0", "sample-1", "sample-3"]


def test_one_failed_file_among_many_to_decrypt_and_encrypt_is_never_0(user: User, data: bytes, tmp_path: Path) -> None:
    assert user.download().code == 0
    whole = user.out / "GHGAF01.bin.c4gh"
    bad = user.out / "bad.c4gh"
    content = bytearray(whole.read_bytes())
    content[5000] ^= 1
    bad.write_bytes(content)
    said = user.run("decrypt", bad, whole, "--output-dir", tmp_path / "opened")
    assert said.code == 6
    assert (tmp_path / "opened" / "GHGAF01.bin").read_bytes() == data
    assert not (tmp_path / "opened" / "bad").exists()
    said = user.run(
        "encrypt", tmp_path / "u.pub", tmp_path / "nothing", "--recipient-public-key-path", tmp_path / "u.pub",
        "--output-dir", tmp_path / "sealed",
    )  # fmt: skip
    assert said.code == 3
