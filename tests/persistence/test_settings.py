"""Settings of MongoDB and S3 from the environment and from a TOML file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from persistence.documents.mongodb import MongoSettings
from persistence.errors import InvalidSettings, Rejected
from persistence.objects.s3 import S3Settings

URI = "mongodb://ada:opensesame@localhost/?replicaSet=rs0"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MONGODB_", "S3_")):
            monkeypatch.delenv(name)


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", URI)
    monkeypatch.setenv("MONGODB_DATABASE", "archive")
    monkeypatch.setenv("MONGODB_DEADLINE", "2.5")
    monkeypatch.setenv("S3_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("S3_ACCESS_KEY", "key")
    monkeypatch.setenv("S3_SECRET_KEY", "secret")
    monkeypatch.setenv("S3_CA_FILE", "/etc/ca.pem")
    monkeypatch.setenv("S3_ADDRESSING", "virtual")
    monkeypatch.setenv("S3_PART_SIZE", "5242880")
    assert MongoSettings.load() == MongoSettings(URI, "archive", 2.5)
    assert S3Settings.load() == S3Settings(
        "https://s3.example", "key", "secret", ca_file=Path("/etc/ca.pem"), addressing="virtual", part_size=5242880
    )


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "service.toml"
    file.write_text(f'[mongodb]\nuri = "{URI}"\ndatabase = "file"\n[s3]\nregion = "file"\n[other]\nport = 1\n')
    monkeypatch.setenv("MONGODB_DATABASE", "environment")
    monkeypatch.setenv("HUB_REGION", "environment")
    assert MongoSettings.load(file) == MongoSettings(URI, "environment")
    assert S3Settings.load(file).region == "file"
    assert S3Settings.load(file, prefix="HUB_").region == "environment"


def test_secrets_are_in_no_representation() -> None:
    settings = MongoSettings(URI, "archive"), S3Settings(None, "key", "opensesame", "opensesame")
    assert "opensesame" not in repr(settings)
    assert "opensesame" not in str(settings)


@pytest.mark.parametrize(
    ("kind", "toml", "environment", "words"),
    [
        (MongoSettings, "", {}, ["uri", "database", "MONGODB_URI"]),
        (MongoSettings, "", {"MONGODB_URI": URI}, ["database"]),
        (MongoSettings, '[mongodb]\ndatabse = "a"', {"MONGODB_URI": URI}, ["databse", "service.toml"]),
        (MongoSettings, "[mongodb", {}, ["MongoDB"]),
        (MongoSettings, "mongodb = 3", {}, ["MongoDB"]),
        (MongoSettings, None, {}, ["service.toml"]),
        (MongoSettings, "", {"MONGODB_URI": "localhost:27017", "MONGODB_DATABASE": "a"}, ["mongodb://"]),
        (MongoSettings, "", {"MONGODB_URI": URI, "MONGODB_DATABASE": ""}, ["database", "empty"]),
        (MongoSettings, "", {"MONGODB_URI": URI, "MONGODB_DATABASE": "a", "MONGODB_DEADLINE": "soon"}, ["deadline"]),
        (MongoSettings, "", {"MONGODB_URI": URI, "MONGODB_DATABASE": "a", "MONGODB_DEADLINE": "nan"}, ["deadline"]),
        (S3Settings, "", {"S3_ENDPOINT_URL": "s3.example"}, ["endpoint_url", "https://"]),
        (S3Settings, "", {"S3_ACCESS_KEY": "key"}, ["secret_key"]),
        (S3Settings, "", {"S3_ADDRESSING": "both"}, ["addressing"]),
        (S3Settings, "", {"S3_ATTEMPTS": "0"}, ["attempts", "positive"]),
        (S3Settings, "", {"S3_PART_SIZE": "8 MiB"}, ["part_size"]),
        (S3Settings, "[s3]\nsecret = 1", {}, ["secret", "service.toml"]),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    kind: Any, toml: str | None, environment: dict[str, str], words: list[str], monkeypatch: Any, tmp_path: Path
) -> None:
    file = tmp_path / "service.toml"
    if toml is not None:
        file.write_text(toml)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        kind.load(file)
    assert isinstance(caught.value, Rejected)
    message = str(caught.value)
    print(message)
    assert "\n" not in message
    assert "opensesame" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["deadline", "attempts", "max_threads", "part_size", "max_copy_size"])
def test_numbers_are_positive(name: str) -> None:
    wrong: dict[str, Any] = {name: -1}
    with pytest.raises(InvalidSettings, match=name):
        S3Settings(**wrong)


@pytest.mark.parametrize(
    ("library", "provider"),
    [("botocore", "objects.s3"), ("pymongo", "documents.mongodb")],
)
def test_a_provider_names_the_extra_that_it_needs(library: str, provider: str) -> None:
    extra = provider.rpartition(".")[2]
    code = f"import sys; sys.modules[{library!r}] = None; import persistence.{provider}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError")
    assert library in last
    assert f"crypt4gh-connector[{extra}]" in last


@pytest.mark.parametrize("option", ["tls=maybe", "maxPoolSise=5", "readPreference=next", "w", "wtimeoutms=soon"])
def test_options_that_pymongo_would_ignore_are_refused(option: str) -> None:
    """It would connect without them: without TLS, for example."""
    with pytest.raises(InvalidSettings, match="option"):
        MongoSettings(f"mongodb://archive:opensesame@h1,h2/?replicaSet=rs0&{option}", "archive")
    with pytest.raises(InvalidSettings, match="option"):
        MongoSettings(f"mongodb://h?{option}", "archive")


@pytest.mark.parametrize(
    "uri", ["mongodb://h", "mongodb://h/", "mongodb://h/db?w=1", "mongodb+srv://h/?tls=false", URI]
)
def test_uris_of_every_form_are_taken(uri: str) -> None:
    assert MongoSettings(uri, "archive").uri == uri
