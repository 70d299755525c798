"""The processes of an archive as operators run them: from one configuration, with workers beside them."""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path

import httpx
import pytest

from persistence.testing.servers import S3Endpoint
from tests.support.archive_process import run_cli, served_archive, serving_config
from tests.support.contract_client import ContractClient, new_private_key, public_of, unseal

TWO_HUBS = """
retry_after = 1
[documents]
provider = "sqlite"
path = "documents/archive.sqlite"
[[hubs]]
alias = "HD01"
label = "Heidelberg"
storage = { provider = "filesystem", path = "heidelberg" }
[[hubs]]
alias = "TU02"
storage = { provider = "filesystem", path = "tuebingen", inbox = "arrivals" }
"""


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def worker_of(pid: int, *, other_than: int = 0) -> int:
    """The worker that a server has started, once it is there."""
    deadline = time.monotonic() + 180
    while not (found := [child for child in children_of(pid) if child != other_than]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 180
    while runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def two_hubs(tmp_path: Path) -> Path:
    file = tmp_path / "archive.toml"
    file.write_text(TWO_HUBS)
    return file


def test_two_hubs_in_one_archive(two_hubs: Path, http: httpx.Client) -> None:
    with serving_config(two_hubs, "--worker") as archive:
        for alias in ("HD01", "TU02"):
            key = new_private_key()
            user = ContractClient(
                archive.wkvs_url, archive.grant_upload(public_of(key), storage_alias=alias), key, http
            )
            assert user.values["storage_labels"] == {"HD01": "Heidelberg", "TU02": "TU02"}
            hub_keys = user.values["crypt4gh_public_keys"]
            assert len(set(hub_keys.values())) == len(hub_keys) == 2
            user.values["crypt4gh_public_keys"] = {alias: hub_keys[alias]}
            file = user.seal(os.urandom(100_000))
            created = user.create("a", file)
            assert created.json()["storage_alias"] == alias
            file_id = created.json()["file_id"]
            user.put_parts(file_id, file.parts)
            assert user.close(file_id, file.claim()).status_code == 204
            accession = archive.wait_for_file(file_id)["accession"]
            reader = ContractClient(archive.wkvs_url, archive.grant_download(public_of(key), [accession]), key, http)
            deadline = time.monotonic() + 180
            while (found := reader.drs_object(accession)).status_code == 202:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            content = http.get(found.json()["access_methods"][0]["access_url"]["url"]).content
            assert unseal(reader.envelope(accession), content, key) == file.plaintext
            listed = user.list_uploads().json()["items"]
            assert [item["bucket_id"] for item in listed] == ["permanent"]


def test_some_of_the_services(two_hubs: Path, http: httpx.Client) -> None:
    with serving_config(two_hubs, "--only", "wkvs,ucs") as archive:
        values = http.get(f"{archive.wkvs_url}/values").json()
        assert http.get(f"{values['ucs_api_url']}/health").status_code == 200
        for name in ("wps_api_url", "dcs_api_url"):
            assert http.get(f"{values[name]}/health").status_code == 404


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_the_worker_beside_a_server_is_started_again_and_ends_with_it(tmp_path: Path) -> None:
    with served_archive(tmp_path / "archive") as archive:
        first = worker_of(archive.process.pid)
        os.kill(first, signal.SIGKILL)
        second = worker_of(archive.process.pid, other_than=first)
        assert archive.stop() == 0
        wait_until_gone(second)
    with served_archive(tmp_path / "archive") as archive:
        worker = worker_of(archive.process.pid)
        archive.process.kill()
        wait_until_gone(worker)


S3_CONFIG = """
[documents]
provider = "sqlite"
path = "archive.sqlite"
[[hubs]]
alias = "HD01"
[hubs.storage]
provider = "s3"
endpoint_url = "{url}"
access_key = "testkey"
secret_key_file = "s3.key"
attempts = 1
deadline = 20.0
inbox = "{name}-inbox"
permanent = "{name}-permanent"
download = "{name}-download"
"""


def s3_config(folder: Path, url: str, secret: str, *, mode: int = 0o600) -> Path:
    (folder / "s3.key").write_text(secret)
    (folder / "s3.key").chmod(mode)
    file = folder / "archive.toml"
    file.write_text(S3_CONFIG.format(url=url, name=f"test-{secrets.token_hex(4)}"))
    return file


def told(file: Path, code: int, *words: str, command: str = "serve") -> None:
    """A command ends at once with this code and one sentence that has these words."""
    waiting = ("--start-timeout", "0") if command in ("serve", "work") else ()
    done = run_cli("archive", command, "--config", str(file), *waiting)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_what_is_wrong_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "archive.toml"
    told(file, 3, "archive.toml", command="files")
    file.write_text(TWO_HUBS.replace("retry_after", "retry_afte"))
    told(file, 2, "retry_afte")
    told(file, 2, "retry_afte", command="work")
    mongodb = 'provider = "mongodb"\nuri = "mongodb://127.0.0.1:9/"\ndeadline = 0.5\n'
    file.write_text(TWO_HUBS.replace('provider = "sqlite"\npath = "documents/archive.sqlite"\n', mongodb))
    told(file, 5, "database")
    told(s3_config(tmp_path, "http://127.0.0.1:9", "secret"), 5, "HD01")
    told(s3_config(tmp_path, "http://127.0.0.1:9", "secret", mode=0o644), 3, "chmod 600")


def test_buckets_of_an_s3_server_have_to_be_there(tmp_path: Path, s3: S3Endpoint) -> None:
    told(s3_config(tmp_path, s3.url, "wrong"), 2, "HD01")
    told(s3_config(tmp_path, s3.url, s3.secret_key), 2, "HD01", "bucket", "-inbox")


def test_which_archive(tmp_path: Path, two_hubs: Path) -> None:
    done = run_cli("archive", "files")
    assert done.returncode == 2
    assert "--config" in done.stderr
    done = run_cli("archive", "files", "--root", str(tmp_path / "root"), "--config", str(two_hubs))
    assert done.returncode == 2
    assert "two archives" in done.stderr
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONNECTOR_ARCHIVE_CONFIG", str(two_hubs))
        done = run_cli("archive", "files", "--root", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "no archive" in done.stderr


def test_a_hub_that_there_is_not(two_hubs: Path, tmp_path: Path) -> None:
    key = tmp_path / "user.pub"
    run_cli("keygen", "--nocrypt", "--sk", str(tmp_path / "user.sec"), "--pk", str(key))
    grant = ("archive", "grant", "upload", "--config", str(two_hubs), "--public-key", str(key))
    assert run_cli(*grant, "--storage-alias", "TU02").returncode == 0
    done = run_cli(*grant, "--storage-alias", "TU03")
    assert done.returncode == 2
    assert "TU03" in done.stderr
    assert "HD01, TU02" in done.stderr


def test_jobs_of_a_kind_that_there_is_not(two_hubs: Path) -> None:
    done = run_cli("archive", "work", "--config", str(two_hubs), "--kinds", "register,dance")
    assert done.returncode == 2
    assert "dance" in done.stderr
