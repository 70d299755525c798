"""Requests that no client sends: each is refused with a reason, none is a 500 that does not name it."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.archive_process import ArchiveProcess
from tests.support.contract_client import bearer

pytestmark = pytest.mark.parametrize("set_up", ["embedded"], indirect=True)
"""The server by itself: what stands in front of several of them refuses much of this with words of its own."""

MIB = 1024**2
BIG = 10**30


def raw(archive: ArchiveProcess, request: bytes) -> tuple[int, bytes]:
    """Send these bytes, and return the status and the body of the answer."""
    address = urlsplit(archive.wkvs_url)
    with socket.create_connection((address.hostname, address.port), timeout=180) as sock:
        sock.sendall(request)
        received = b""
        while data := sock.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def is_named(status: int, body: bytes) -> bool:
    """Whether an error says what it is about, in the form of the contract or of S3."""
    if body.startswith(b"<?xml"):
        return b"<Code>" in body
    if not body:
        return status in (400, 431)  # no HTTP: nothing is known of the client
    answer = json.loads(body)
    return bool(answer.get("exception_id") or answer.get("detail"))


CLOSE = b"Connection: close\r\n\r\n"
WHO = b"Host: x\r\nAuthorization: Bearer "
REQUESTS = {
    "host": b"GET /storage/inbox/x?X-Amz-Date=1 HTTP/1.1\r\nHost: [\r\n" + CLOSE,
    "host of drs": b"GET /dcs/objects/GHGAF1 HTTP/1.1\r\nHost: [::1\r\n" + CLOSE,
    "no host": b"GET /dcs/objects/GHGAF1 HTTP/1.0\r\n\r\n",
    "path": b"GET /%ff%00%2e%2e/%F0 HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "bytes in the path": b"GET /\xff HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "absolute path": b"GET http://[/x HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "connect": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "method": b"BREW /ucs/boxes/x/uploads HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n" + CLOSE,
    "many fields": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 20_000 + CLOSE,
    "two lengths": b"POST /ucs/boxes/x/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n"
    + CLOSE,
    "token": b"GET /wps/work-packages/x HTTP/1.1\r\n" + WHO + b"\xfc.\xfc.\xfc\r\n" + CLOSE,
    "long token": b"GET /dcs/objects/x HTTP/1.1\r\n" + WHO + b"e30." * 12_000 + b"\r\n" + CLOSE,
    "id": b"GET /ucs/boxes/" + b"9" * 30_000 + b"/uploads HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "signature": b"GET /storage/inbox/x?" + b"a=%ff&" * 4000 + b" HTTP/1.1\r\nHost: x\r\n" + CLOSE,
    "lifetime": b"GET /storage/inbox/x?X-Amz-Date=99990101T000000Z&X-Amz-Expires=" + b"9" * 4000 + b" HTTP/1.1\r\n"
    b"Host: x\r\n" + CLOSE,
    "websocket": b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_without_a_right_to_anything(archive: ArchiveProcess, name: str) -> None:
    status, body = raw(archive, REQUESTS[name])
    assert 400 <= status < 500, body
    assert name == "websocket" or is_named(status, body), body


RIGHT = {"alias": "x", "decrypted_size": 100, "encrypted_size": 252, "part_size": 5 * MIB}


@pytest.mark.parametrize(
    "changes",
    [
        {"decrypted_size": BIG, "encrypted_size": BIG},
        {"encrypted_size": BIG},
        {"encrypted_size": 5 * MIB**2 + 1},
        {"decrypted_size": -BIG},
        {"decrypted_size": 1.5},
        {"decrypted_size": True},
        {"decrypted_size": 10**400},
        {"part_size": BIG},
        {"part_size": 0},
        {"part_size": -1},
        {"overwrite": "yes"},
    ],
)
def test_sizes(uploader: Any, http: httpx.Client, changes: dict[str, Any]) -> None:
    user = uploader()
    token = user.upload_token("create", alias="x")
    answer = http.post(user.uploads_url, headers=bearer(token), json=RIGHT | changes)
    assert answer.status_code == 422
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"work_type": "create", "alias": "\\ud800"}',
        b'{"work_type": "create", "alias": "%s"}' % (b"a" * 1025),
        b'{"work_type": "create", "alias": "%s"}' % (b"a" * 70_000),
        b'{"work_type": "create", "alias": ""}',
        b"[" * 60_000,
        b"9" * 5000,
        b"\xff\xfe\x00",
        b"NaN",
        b"",
    ],
    ids=["surrogate", "long", "longer", "empty", "nested", "number", "bytes", "nan", "nothing"],
)
def test_bodies(uploader: Any, http: httpx.Client, body: bytes) -> None:
    user = uploader()
    box = user.package().json()["research_data_upload_box_id"]
    url = f"{user.values['wps_api_url']}/work-packages/{user.package_id}/boxes/{box}/work-order-tokens"
    answer = http.post(url, headers=bearer(user.secret), content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_body_is_refused_by_its_announced_size(archive: ArchiveProcess, uploader: Any) -> None:
    """Before it is received: the answer comes although the body never does."""
    user = uploader()
    request = f"POST /wps/work-packages/{user.package_id}/boxes/{user.package_id}/work-order-tokens HTTP/1.1\r\n"
    request += f"Host: x\r\nAuthorization: Bearer {user.secret}\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n"
    status, body = raw(archive, request.encode() + b"a" * 70_000)
    assert status in (403, 422), body
    assert is_named(status, body)


@pytest.mark.parametrize(
    "query",
    [
        {"sort": ["alias"] * 3000},
        {"sort": ["alias", "-alias"]},
        {"skip": "9" * 300},
        {"skip": "\u0663"},
        {"limit": str(BIG)},
        {"limit": "-1"},
    ],
)
def test_pages(uploader: Any, query: dict[str, Any]) -> None:
    answer = uploader().list_uploads(**query)
    assert (answer.status_code, answer.json()["exception_id"]) == (422, "paginationError")


@pytest.mark.parametrize(
    "changes",
    [
        {"encrypted_parts_md5": ["0" * 32] * 10_001},
        {"encrypted_parts_sha256": ["x"]},
        {"decrypted_sha256": "\u0660" * 64},
        {"encrypted_md5": "0" * 32 + "-100000"},
        {"encrypted_parts_md5": [["0" * 32]]},
        {"encrypted_parts_md5": {"0": "0"}},
    ],
)
def test_completions(uploader: Any, http: httpx.Client, changes: dict[str, Any]) -> None:
    user = uploader()
    file = user.seal(b"x" * 100)
    file_id = user.create("x", file).json()["file_id"]
    answer = user.close(file_id, file.claim(**changes))
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("value", ["bytes=-0", "bytes=9-1", f"bytes=0-{BIG}", f"bytes={BIG}-", "bytes=0-1,3-4", "x"])
def test_ranges(registered: Any, downloader: Any, http: httpx.Client, value: str) -> None:
    accession, _ = registered(size=1000)
    user = downloader([accession])
    while (answer := user.drs_object(accession)).status_code == 202:
        pass
    url = answer.json()["access_methods"][0]["access_url"]["url"]
    answer = http.get(url, headers={"Range": value})
    assert answer.status_code in (200, 206, 416)


@pytest.mark.parametrize("length", [b"a" * 1024, "\U0001f9ec".encode() * 1024], ids=["letters", "signs"])
def test_the_longest_alias_goes_all_the_way(uploader: Any, length: bytes) -> None:
    user = uploader()
    answer = user.create(length.decode(), user.seal(b"x" * 100))
    assert answer.status_code == 201, answer.text


def test_an_object_ends_with_its_connection(archive: ArchiveProcess, registered: Any, downloader: Any) -> None:
    """A client that asks for the end of the connection sees it, also after a response that is streamed."""
    accession, _ = registered(size=100_000)
    user = downloader([accession])
    while (answer := user.drs_object(accession)).status_code == 202:
        pass
    url = urlsplit(answer.json()["access_methods"][0]["access_url"]["url"])
    request = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    status, body = raw(archive, request.encode())
    assert (status, len(body)) == (200, answer.json()["size"])
