"""What an archive's configuration may hold, and how what it may not hold is told."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import pytest

from connector.archive.config import (
    ArchiveConfig,
    FilesystemBuckets,
    MongodbDocuments,
    S3Buckets,
    SqliteDocuments,
)
from connector.archive.config_file import SETTING_NAMES, embedded_config, read_config
from connector.archive.providers import make_storage
from connector.archive.settings import ArchiveSettings
from connector.errors import LocalError, UsageError
from persistence.objects.filesystem import UrlSigner

Read = Callable[..., ArchiveConfig]

DOCUMENTS = """
[documents]
provider = "mongodb"
uri = "mongodb://one,two,three/?replicaSet=rs0"
"""
HUB = """
[[hubs]]
alias = "HD01"
label = "Heidelberg"
[hubs.storage]
provider = "s3"
endpoint_url = "https://s3.example.org"
access_key = "us"
inbox = "hd01-inbox"
"""
FILES = """
[[hubs]]
alias = "TU02"
storage = { provider = "filesystem", path = "objects" }
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def make(text: str, environment: Mapping[str, str] | None = None, **options: object) -> ArchiveConfig:
        file = tmp_path / "archive.toml"
        file.write_text(text)
        return read_config(file, environment=environment or {}, options=options)

    return make


def secret(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_whole_configuration(read: Read, tmp_path: Path) -> None:
    secret(tmp_path / "s3.key", "secret\n")
    secret(tmp_path / "hd01.sec", "the hub's key")
    hub = HUB.replace("label", 'private_key = "hd01.sec"\nlabel') + 'secret_key_file = "s3.key"\n'
    top = 'public_url = "https://archive.example.org/"\nopen_uploads = 7\ninterrogation_memory = "1GiB"\n'
    config = read(top + DOCUMENTS + hub + FILES)
    assert config.public_url == "https://archive.example.org"
    assert config.documents == MongodbDocuments(uri="mongodb://one,two,three/?replicaSet=rs0")
    assert config.settings == ArchiveSettings(open_uploads=7, interrogation_memory=1024**3)
    first, second = config.hubs
    assert (first.alias, first.label, first.private_key) == ("HD01", "Heidelberg", b"the hub's key")
    assert isinstance(first.storage, S3Buckets)
    assert (first.storage.secret_key, first.storage.inbox) == ("secret", "hd01-inbox")
    assert "secret" not in repr(config)
    assert second.storage == FilesystemBuckets(path=tmp_path / "objects")
    assert config.keys_directory == tmp_path / "keys"


def test_the_environment_comes_before_the_file_and_options_before_both(read: Read) -> None:
    environment = {
        "CONNECTOR_ARCHIVE_DOCUMENTS_URI": "mongodb://me:secret@four",
        "CONNECTOR_ARCHIVE_HUBS_HD01_SECRET_KEY": "hidden",
        "CONNECTOR_ARCHIVE_HUBS_HD01_PRIVATE_KEY": base64.b64encode(bytes(32)).decode(),
        "CONNECTOR_ARCHIVE_KEYS_DIRECTORY": "/run/keys",
        "CONNECTOR_ARCHIVE_URL_LIFETIME": "10",
        "CONNECTOR_ARCHIVE_MANUAL_ARCHIVAL": "true",
    }
    config = read(f"url_lifetime = 20\n{DOCUMENTS}{HUB}", environment, url_lifetime=None, open_uploads=3)
    assert config.documents == MongodbDocuments(uri="mongodb://me:secret@four")
    assert isinstance(config.hubs[0].storage, S3Buckets)
    assert config.hubs[0].storage.secret_key == "hidden"
    assert config.hubs[0].private_key == bytes(32)
    assert config.keys_directory == Path("/run/keys")
    assert config.settings == ArchiveSettings(url_lifetime=10, manual_archival=True, open_uploads=3)


def test_the_database_may_be_named_by_the_environment_alone(read: Read) -> None:
    uri = {"CONNECTOR_ARCHIVE_DOCUMENTS_PROVIDER": "mongodb", "CONNECTOR_ARCHIVE_DOCUMENTS_URI": "mongodb://db"}
    assert read(FILES, uri).documents == MongodbDocuments(uri="mongodb://db")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("public_url =", ["TOML"]),
        (f"keys = {'[' * 5000}", ["TOML"]),
        (HUB, ["documents", "missing"]),
        (DOCUMENTS, ["hubs"]),
        (f"hubs = []\n{DOCUMENTS}", ["hubs"]),
        (f"open_upload = 3\n{DOCUMENTS}{HUB}", ["open_upload", "no key"]),
        (f"documents = 5\n{HUB}", ["documents", "table is expected"]),
        (f"staging_delay = [1]\n{DOCUMENTS}{HUB}", ["staging_delay", "number"]),
        (DOCUMENTS + HUB.replace('"HD01"', '" "', 1), ["hubs[0].alias", "text is expected"]),
        (DOCUMENTS + HUB.replace("alias", "private_key = 5\nalias", 1), ["private_key", "name of a file"]),
        (f"open_uploads = 0\n{DOCUMENTS}{HUB}", ["open_uploads", ">= 1"]),
        (f"hubs = 'HD01'\n{DOCUMENTS}", ["[[hubs]]"]),
        (f"hubs = ['HD01']\n{DOCUMENTS}", ["[[hubs]]"]),
        (DOCUMENTS + HUB.replace("[[hubs]]", "[hubs]"), ["[[hubs]]"]),
        *(
            (f"{key} = {value}\n{DOCUMENTS}{HUB}", [key, "<="])
            for key in ("url_lifetime", "package_lifetime", "upload_lifetime", "work_order_lifetime", "stage_lifetime")
            for value in ("1000000000000000", "1e300" if key == "stage_lifetime" else "604800000000")
        ),
        (f"stage_lifetime = inf\n{DOCUMENTS}{HUB}", ["stage_lifetime"]),
        (f"job_lease = inf\n{DOCUMENTS}{HUB}", ["job_lease"]),
        (DOCUMENTS + HUB + "deadline = inf\n", ["deadline"]),
        (DOCUMENTS + HUB + "secret_key_file = 5\n", ["secret_key_file", "name of a file"]),
        (f"public_url = 'https://me:secret@archive'\n{DOCUMENTS}{HUB}", ["public_url", "user"]),
        (f"public_url = 'https://archive?x=1'\n{DOCUMENTS}{HUB}", ["public_url", "query"]),
        (f"open_uploads = 'many'\n{DOCUMENTS}{HUB}", ["open_uploads", "many"]),
        (f"open_uploads = true\n{DOCUMENTS}{HUB}", ["open_uploads", "whole number"]),
        (f"manual_archival = 'maybe'\n{DOCUMENTS}{HUB}", ["manual_archival", "true or false"]),
        (f"public_url = 'archive.example.org'\n{DOCUMENTS}{HUB}", ["public_url", "https://"]),
        (f"public_url = 'http://[::1'\n{DOCUMENTS}{HUB}", ["public_url"]),
        (f"public_url = 'http://a:port'\n{DOCUMENTS}{HUB}", ["public_url"]),
        (f"keys = {{ directry = 'x' }}\n{DOCUMENTS}{HUB}", ["keys", "directry"]),
        (DOCUMENTS.replace("mongodb", "postgres", 1) + HUB, ["documents", "postgres", "sqlite"]),
        (DOCUMENTS.replace("uri", "url") + HUB, ["documents", "url", "uri is missing"]),
        (DOCUMENTS.replace("one,", "me:secret@one,") + HUB, ["password", "uri_file"]),
        (DOCUMENTS + HUB.replace("alias", "name"), ["hubs[0]", "name", "alias is missing"]),
        (DOCUMENTS + HUB.replace("HD01", "HD/01"), ["hubs[0]", "HD/01"]),
        (DOCUMENTS + HUB + HUB, ["two hubs", "HD01"]),
        (DOCUMENTS + HUB + HUB.replace("HD01", "TU02"), ["two hubs", "hd01-inbox"]),
        (DOCUMENTS + HUB + 'download = "permanent"\n', ["three different"]),
        (DOCUMENTS + HUB + 'secret_key = "secret"\n', ["secret_key", "secret_key_file"]),
        (DOCUMENTS + HUB + 'addressing = "both"\n', ["hubs[0].storage.addressing", "both"]),
        (DOCUMENTS + HUB.replace("[hubs.storage]\nprovider", "# "), ["hubs[0]"]),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(read: Read, text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert "archive.toml" in caught.value.message or "public_url" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    for word in words:
        assert word in str(caught.value)


def test_one_directory_is_not_that_of_two_hubs(read: Read, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "link").symlink_to("objects")
    for path in ("./x/../objects/", "link"):
        with pytest.raises(UsageError, match="two hubs"):
            read(DOCUMENTS + FILES.replace("TU02", "HD01") + FILES.replace('"objects"', f'"{path}"'))


@pytest.mark.parametrize("url", ["https://S3.example.org/", "https://s3.example.org:443", "HTTPS://s3.example.org//"])
def test_one_server_is_not_that_of_two_hubs(read: Read, url: str) -> None:
    with pytest.raises(UsageError, match="two hubs"):
        read(DOCUMENTS + HUB + HUB.replace("HD01", "TU02").replace("https://s3.example.org", url))


def test_a_variable_of_two_hubs_is_refused(read: Read) -> None:
    text = DOCUMENTS + HUB + HUB.replace("HD01", "hd01").replace("s3.example", "s4.example")
    assert len(read(text).hubs) == 2
    with pytest.raises(UsageError, match="HUBS_HD01_"):
        read(text, {"CONNECTOR_ARCHIVE_HUBS_HD01_SECRET_KEY": "whose"})


def test_secrets_that_others_may_read_are_refused(read: Read, tmp_path: Path) -> None:
    secret(tmp_path / "s3.key", "secret", mode=0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        read(f'{DOCUMENTS}{HUB}secret_key_file = "s3.key"\n')


def test_files_that_are_not_there(read: Read, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml", environment={})
    with pytest.raises(LocalError, match=r"s3\.key"):
        read(f'{DOCUMENTS}{HUB}secret_key_file = "s3.key"\n')


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("key", ["uri_file", "private_key", "secret_key_file"])
def test_secrets_in_pipes_are_refused_without_waiting(read: Read, tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    text = {
        "uri_file": re.sub(r'uri = ".*"', 'uri_file = "pipe"', DOCUMENTS) + HUB,
        "private_key": DOCUMENTS + HUB.replace("[hubs.storage]", 'private_key = "pipe"\n[hubs.storage]'),
        "secret_key_file": DOCUMENTS + HUB + 'secret_key_file = "pipe"',
    }
    with pytest.raises(LocalError, match="regular"):
        read(text[key])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("make", [getattr(os, "mkfifo", None), os.mkdir, None], ids=["pipe", "folder", "nothing"])
def test_certificates_that_are_in_no_file(read: Read, tmp_path: Path, make: Callable[[Path], None] | None) -> None:
    if make is not None:
        make(tmp_path / "ca")
    (hub,) = read(DOCUMENTS + HUB + 'ca_file = "ca"').hubs
    with pytest.raises(LocalError, match="certificates"):
        make_storage(hub.storage, UrlSigner("http://archive.invalid", b"0" * 16, time.time))


def test_a_key_of_the_environment_that_is_none(read: Read) -> None:
    with pytest.raises(UsageError, match="CONNECTOR_ARCHIVE_HUBS_HD01_PRIVATE_KEY"):
        read(DOCUMENTS + HUB, {"CONNECTOR_ARCHIVE_HUBS_HD01_PRIVATE_KEY": "x"})


def test_the_short_form_of_an_embedded_archive(tmp_path: Path) -> None:
    environment = {"CONNECTOR_ARCHIVE_OPEN_UPLOADS": "3", "CONNECTOR_STORAGE_ALIAS": "HD01"}
    config = embedded_config(tmp_path, environment=environment, options={"public_url": "http://here/"})
    assert config.documents == SqliteDocuments(path=tmp_path / "archive.sqlite")
    assert [hub.alias for hub in config.hubs] == ["HD01"]
    assert (config.public_url, config.settings.open_uploads) == ("http://here", 3)
    with pytest.raises(UsageError, match="alias"):
        embedded_config(tmp_path, environment={}, options={"storage_alias": "a b"})
    with pytest.raises(UsageError, match="open_uploads"):
        embedded_config(tmp_path, environment={"CONNECTOR_ARCHIVE_OPEN_UPLOADS": "x"})


def test_every_setting_can_be_written(read: Read) -> None:
    written = {field.name: field.default for field in attrs.fields(ArchiveSettings) if field.default is not None}
    text = "\n".join(f"{name} = {str(value).lower()}" for name, value in written.items())
    assert read(f"{text}\n{DOCUMENTS}{HUB}").settings == ArchiveSettings()
    assert set(written) <= set(SETTING_NAMES)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (DOCUMENTS.replace('uri = "', 'uri_file = "\\u0000') + HUB, "uri_file"),
        (DOCUMENTS + HUB + 'secret_key_file = "~no-such-user/x"', "secret_key_file"),
        (DOCUMENTS + HUB + 'ca_file = "~no-such-user/x"', "ca_file"),
        (DOCUMENTS + HUB.replace("[hubs.storage]", 'private_key = "\\u0000"\n[hubs.storage]'), "private_key"),
        (DOCUMENTS + HUB + '[keys]\ndirectory = "~no-such-user/x"', "directory"),
    ],
)
def test_what_cannot_be_a_path_is_named(read: Read, text: str, key: str) -> None:
    with pytest.raises(UsageError, match=key):
        read(text)


def test_a_configuration_that_never_ends() -> None:
    with pytest.raises(UsageError, match="1 MiB"):
        read_config(Path("/dev/zero"), environment={})
