from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.contract_client import ContractClient, new_private_key, public_of
from tests.support.served_archive import MakeArchive, ServedArchive


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=180, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session", params=["embedded", "cluster"])
def set_up(request: pytest.FixtureRequest) -> str:
    """What the archives of the tests are made of."""
    return str(request.param)


@pytest.fixture(scope="session")
def archive(set_up: str, make_archive: MakeArchive, request: pytest.FixtureRequest) -> Iterator[ServedArchive]:
    """An archive with the lifetimes of the contract, of either set-up."""
    if set_up == "cluster":
        yield request.getfixturevalue("cluster")
        return
    with make_archive(set_up) as served:
        yield served


@pytest.fixture(scope="session")
def hasty_archive(set_up: str, make_archive: MakeArchive) -> Iterator[ServedArchive]:
    """An archive whose URLs live for four seconds at most, and that takes its time to stage."""
    hasty = {"url_lifetime": 4, "staging_delay": 0.3, "retry_after": 2}
    with make_archive(set_up, **hasty) as served:
        yield served


Uploader = Callable[..., ContractClient]


@pytest.fixture
def uploader(archive: ServedArchive, http: httpx.Client) -> Uploader:
    """Makes a user with an upload box of their own."""

    def make(served: ServedArchive = archive, **options: object) -> ContractClient:
        private_key = new_private_key()
        token = served.grant_upload(public_of(private_key), **options)
        return ContractClient(served.wkvs_url, token, private_key, http)

    return make


@pytest.fixture
def downloader(archive: ServedArchive, http: httpx.Client) -> Uploader:
    """Makes a user with a download package."""

    def make(accessions: list[str] | None = None, served: ServedArchive = archive) -> ContractClient:
        private_key = new_private_key()
        token = served.grant_download(public_of(private_key), accessions)
        return ContractClient(served.wkvs_url, token, private_key, http)

    return make


@pytest.fixture
def registered(archive: ServedArchive, uploader: Uploader) -> Callable[..., tuple[str, bytes]]:
    """Uploads a file and waits until it is registered: accession and plaintext."""

    def make(alias: str = "sample.vcf.gz", size: int = 200_000, served: ServedArchive = archive) -> tuple[str, bytes]:
        user = uploader(served)
        plaintext = os.urandom(size)
        file_id = user.upload(alias, user.seal(plaintext))
        return served.wait_for_file(file_id)["accession"], plaintext

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"
