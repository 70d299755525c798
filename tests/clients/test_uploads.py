"""The upload service: requests as the contract spells them, answers, and listings of several pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiReply, ApiTransport
from connector.clients.uploads import (
    UploadClient,
    read_completed,
    read_created,
    read_deleted,
    read_page,
    read_part_url,
)
from connector.errors import BrokenError, RefusedError
from connector.transfer import Retrier, SilentObserver, TooManyOpenTransfersError
from connector.wire.payloads import FileUpload, UploadCompletion, UploadCreation
from tests.clients.conftest import Handler, KeptRequests, Reply

API = "https://a.test/ucs"
BOX = UUID(int=1)
FILE = UUID(int=2)


@pytest.mark.trio
async def test_requests_are_spelled_as_the_contract_says(requests: KeptRequests) -> None:
    uploads = f"{API}/boxes/{BOX}/uploads"
    client = UploadClient(requests.api, lambda: f"{API}/", BOX)
    requests.answers = [
        (200, {"items": [], "total_count": 0}),
        (201, {"file_id": str(FILE), "alias": "a", "storage_alias": "HD01"}),
        (200, "https://s3.test/part"),
        (204, None),
        (204, None),
    ]
    assert [page async for page in client.pages(requests.token)] == [()]
    assert requests.last() == ("GET", f"{uploads}?skip=0&limit=1000", "t")
    await client.create(requests.token, UploadCreation("a", 10, 162, 5242880, overwrite=True))
    assert requests.last() == ("POST", uploads, "t")
    assert requests.last_body() == {
        "alias": "a",
        "decrypted_size": 10,
        "encrypted_size": 162,
        "part_size": 5242880,
        "overwrite": True,
    }
    await client.part_url(requests.token, FILE, 7)
    assert requests.last() == ("GET", f"{uploads}/{FILE}/parts/7", "t")
    await client.complete(requests.token, FILE, UploadCompletion("aa", "bb-2", ("c", "d"), ("e", "f")))
    assert requests.last() == ("PATCH", f"{uploads}/{FILE}", "t")
    assert requests.last_body() == {
        "decrypted_sha256": "aa",
        "encrypted_md5": "bb-2",
        "encrypted_parts_md5": ["c", "d"],
        "encrypted_parts_sha256": ["e", "f"],
    }
    await client.delete(requests.token, FILE)
    assert requests.last() == ("DELETE", f"{uploads}/{FILE}", "t")


def test_answers_are_read(reply: Reply) -> None:
    created = read_created(reply(201, {"file_id": str(FILE), "alias": "a", "storage_alias": "HD01"}), "a")
    assert (created.file_id, created.storage_alias) == (FILE, "HD01")
    assert read_part_url(reply(200, "https://s3.test/x?y")) == "https://s3.test/x?y"
    read_completed(reply(204))
    read_deleted(reply(204))


@pytest.mark.parametrize("status", [200, 201, 202, 206])
@pytest.mark.parametrize("read", [read_completed, read_deleted])
def test_a_login_page_completes_and_deletes_nothing(
    read: Callable[[ApiReply], None], reply: Reply, status: int
) -> None:
    with pytest.raises(BrokenError, match="login page"):
        read(reply(status, b"<html>Please log in</html>"))


def test_an_upload_that_is_gone_already_is_as_good_as_deleted(reply: Reply) -> None:
    read_deleted(reply(404, {"exception_id": "fileUploadNotFound"}))
    with pytest.raises(RefusedError):
        read_deleted(reply(409, {"exception_id": "fileUploadStateError"}))


@pytest.mark.parametrize("body", ["", "ftp://x", "file:///etc/passwd", 5, None, {"url": "https://s3.test"}])
def test_a_part_url_that_is_none_is_not_used(reply: Reply, body: dict[str, str] | int | str | None) -> None:
    with pytest.raises(BrokenError, match="part URL"):
        read_part_url(reply(200, body))


def test_a_refusal_says_what_was_refused(reply: Reply) -> None:
    with pytest.raises(TooManyOpenTransfersError, match="my file"):
        read_created(reply(429, {"exception_id": "tooManyOpenUploads"}), "my file")
    with pytest.raises(RefusedError, match="complete the upload"):
        read_completed(reply(400, {"exception_id": "checksumMismatch"}))
    with pytest.raises(RefusedError, match="upload box"):
        read_page(reply(403))


def item(number: int, state: str = "inbox") -> dict[str, object]:
    return {"id": str(UUID(int=number)), "alias": f"f{number}", "state": state, "decrypted_size": 1, "checksum": "x"}


@pytest.mark.trio
@pytest.mark.parametrize(("total", "pages"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
async def test_a_box_is_listed_page_by_page(
    answered_by: Callable[[Handler], httpx.AsyncClient], total: int, pages: int
) -> None:
    asked: list[tuple[int, int]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        skip, limit = int(request.url.params["skip"]), int(request.url.params["limit"])
        asked.append((skip, limit))
        return httpx.Response(
            200, json={"items": [item(n) for n in range(skip, min(skip + limit, total))], "total_count": total}
        )

    found = await listed(answered_by(handler))
    assert [upload.alias for upload in found] == [f"f{n}" for n in range(total)]
    assert asked == [(1000 * page, 1000) for page in range(pages)]


@pytest.mark.trio
async def test_a_count_that_is_too_high_does_not_keep_us_asking(
    answered_by: Callable[[Handler], httpx.AsyncClient],
) -> None:
    asked: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(int(request.url.params["skip"]))
        return httpx.Response(200, json={"items": [] if asked[1:] else [item(1)], "total_count": 10**9})

    assert len(await listed(answered_by(handler))) == 1
    assert asked == [0, 1]


@pytest.mark.trio
async def test_a_listing_without_end_is_given_up(answered_by: Callable[[Handler], httpx.AsyncClient]) -> None:
    many = json.dumps({"items": [item(n) for n in range(20)], "total_count": 10**9})
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text=many)

    with pytest.raises(BrokenError, match="more than 100 files"):
        await listed(answered_by(handler), max_listed=100)
    assert len(asked) == 6


@pytest.mark.trio
async def test_states_that_we_have_never_heard_of_are_listed_too(
    answered_by: Callable[[Handler], httpx.AsyncClient],
) -> None:
    page = {"items": [item(1, "frozen")], "total_count": 1}
    (upload,) = await listed(answered_by(lambda _: httpx.Response(200, json=page)))
    assert upload.state == "frozen"


async def listed(client: httpx.AsyncClient, *, max_listed: int = 10_000) -> list[FileUpload]:
    async def order() -> Expiring[WorkOrderToken]:
        return Expiring(WorkOrderToken("t"), 30.0)

    caller = ApiClient(ApiTransport(client), Retrier(attempts=1), SilentObserver())
    pages = UploadClient(caller, lambda: API + "/", BOX, max_listed=max_listed).pages(CachedValue(order))
    return [upload async for page in pages for upload in page]
