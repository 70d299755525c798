"""The scenes themselves: without any fault, an upload and a download end with 0."""

from __future__ import annotations

from tests.reliability.conftest import Scripted


def test_an_upload_arrives(scripted: Scripted) -> None:
    (scripted.folder / "a.bin").write_bytes(b"abc" * 100_000)
    done = scripted.upload("a.bin")
    assert done.code == 0, done.err
    [upload] = scripted.archive.uploads.values()
    assert upload.state == "inbox"
    assert scripted.archive.opened("a.bin") == b"abc" * 100_000


def test_a_download_arrives(scripted: Scripted) -> None:
    scripted.archive.add_file("GHGAF01", b"abc" * 100_000)
    done = scripted.download("--decrypt")
    assert done.code == 0, done.err
    assert (scripted.folder / "out" / "GHGAF01.bin").read_bytes() == b"abc" * 100_000
