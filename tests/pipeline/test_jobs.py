"""The arguments of the four jobs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import connector
from connector.local.key_files import write_key_pair
from tests.support.pipeline_site import Site


def test_there_and_back(site: Site) -> None:
    site.archive.package_type = "upload"
    site.archive.interrogates_at = 2
    site.archive.refuses = {"second": "no genome"}
    for name in ("a.bam", "b.bam"):
        (site.folder / name).write_bytes(os.urandom(70_000))
    sources: list[Path | connector.UploadSource] = [
        site.folder / "a.bam",
        connector.UploadSource(site.folder / "b.bam", "second"),
    ]
    first, second = connector.upload_files(sources, wait=True, **site.arguments)
    assert (first.unwrap().alias, site.archive.opened("a.bam")) == ("a.bam", (site.folder / "a.bam").read_bytes())
    assert isinstance(second.error, connector.IntegrityError)
    assert second.label == "second"


def test_one_file_and_a_passphrase(site: Site) -> None:
    site.archive.package_type = "upload"
    (site.folder / "a.bam").write_bytes(b"a")
    write_key_pair(site.folder / "p.sec", site.folder / "p.pub", passphrase="open")
    path = str(site.folder / "a.bam")
    with pytest.raises(connector.UsageError, match="passphrase"):
        connector.upload_files(path, **{**site.arguments, "private_key": site.folder / "p.sec"})
    (result,) = connector.upload_files(path, **{**site.arguments, "private_key": site.archive.user})
    assert result.unwrap().alias == "a.bam"


def test_encrypting_and_decrypting(tmp_path: Path) -> None:
    keys = write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase="open")
    content = os.urandom(200_000)
    (tmp_path / "a.bam").write_bytes(content)
    given: list[Any] = [tmp_path / "my.pub", [str(tmp_path / "my.pub")], keys.public]
    for number, recipients in enumerate(given):
        folder = tmp_path / str(number)
        (sealed,) = connector.encrypt_files(str(tmp_path / "a.bam"), recipients=recipients, output_dir=folder)
        assert sealed.unwrap().target == folder / "a.bam.c4gh"
        (opened,) = connector.decrypt_files(
            [sealed.unwrap().target], private_key=tmp_path / "my.sec", passphrase="open", part_size="64KiB"
        )
        assert opened.unwrap().target.read_bytes() == content


def test_what_is_encrypted_without_a_folder_lies_beside_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.bam").write_bytes(b"ACGT")
    (sealed,) = connector.encrypt_files(tmp_path / "a.bam", recipients=bytes(31) + b"\x09")
    assert sealed.unwrap().target == tmp_path / "a.bam.c4gh"
    assert sealed.unwrap().target.exists()


def test_settings_are_those_of_the_command_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    out, arguments = site.folder / "out", site.arguments
    url = arguments.pop("wkvs_url")
    monkeypatch.delenv("CONNECTOR_WKVS_URL", raising=False)
    with pytest.raises(connector.UsageError, match="address"):
        connector.download_files(output_dir=out, **arguments)
    with pytest.raises(connector.UsageError, match=r"^part_size: "):
        connector.download_files(output_dir=out, **{**arguments, "part_size": "7"})
    with pytest.raises(TypeError, match="wkvs_uri"):
        connector.download_files(output_dir=out, wkvs_uri=url, **arguments)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="wkvs_url"):
        connector.decrypt_files("a.c4gh", private_key=site.folder / "my.sec", wkvs_url=url)  # type: ignore[call-arg]
    monkeypatch.setenv("CONNECTOR_WKVS_URL", url)
    assert all(result.ok for result in connector.download_files(output_dir=out, **arguments))


def test_an_empty_list_is_no_file(site: Site) -> None:
    out = site.folder / "out"
    assert connector.download_files([], output_dir=out, **site.arguments) == []
    assert connector.download_files(iter(()), output_dir=out, **site.arguments) == []
    assert list(out.iterdir()) == []
    assert connector.encrypt_files([], recipients=site.folder / "my.pub") == []
    assert connector.decrypt_files([], private_key=site.folder / "my.sec") == []


def test_the_home_folder_in_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.bam").write_bytes(b"ACGT")
    write_key_pair(tmp_path / "home" / "my.sec", tmp_path / "home" / "my.pub", passphrase=None)
    (sealed,) = connector.encrypt_files("~/a.bam", recipients="~/my.pub", private_key="~/my.sec", output_dir="~/data")
    assert sealed.unwrap().target == tmp_path / "home" / "data" / "a.bam.c4gh"
    assert not (tmp_path / "~").exists()
    with pytest.raises(connector.UsageError, match="empty"):
        connector.encrypt_files("~/a.bam", recipients="~/my.pub", output_dir="")


def test_there_is_a_result_for_each_argument(site: Site) -> None:
    first, second, *_ = site.archive.files
    names = [first, "GHGAF99", second, first]
    results = connector.download_files(iter(names), output_dir=site.folder / "out", **site.arguments)
    assert [(result.label, result.ok) for result in results] == [(name, name != "GHGAF99") for name in names]


def test_how_long_to_wait_is_read_before_anything_is_sent(site: Site) -> None:
    site.archive.package_type = "upload"
    site.archive.interrogates_at = 1
    (site.folder / "a.bam").write_bytes(b"a")
    for wrong in ("soon", 0, -1.0, float("nan")):
        with pytest.raises(connector.UsageError, match="wait_timeout"):
            connector.upload_files(site.folder / "a.bam", wait=True, wait_timeout=wrong, **site.arguments)
    assert site.archive.counts["create"] == 0
    (result,) = connector.upload_files(site.folder / "a.bam", wait=True, wait_timeout="30s", **site.arguments)
    assert result.ok
