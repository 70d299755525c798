"""The work package service: requests as the contract spells them, answers with all that they may be."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_client import ApiClient, WorkOrderToken
from connector.clients.api_transport import ApiTransport
from connector.clients.work_packages import (
    AccessToken,
    WorkPackageClient,
    read_package,
)
from connector.crypt4gh.keys import KeyPair, seal_text
from connector.errors import BrokenError, RefusedError
from connector.transfer import Retrier, SilentObserver
from tests.clients.conftest import Handler, KeptRequests, Reply
from tests.support.fake_archive import BASE, FakeArchive

API = "https://a.test/wps"
BOX = UUID(int=1)
FILE = UUID(int=2)
KEYS = KeyPair.of(b"u" * 32)


@pytest.fixture
def client(requests: KeptRequests) -> WorkPackageClient:
    access = AccessToken("p1", seal_text("secret", KEYS.public))
    return WorkPackageClient(requests.api, lambda: f"{API}/", access, KEYS)


@pytest.mark.trio
async def test_a_package_is_asked_for_with_the_opened_access_token(
    client: WorkPackageClient, requests: KeptRequests
) -> None:
    requests.answers = [(200, {"type": "download", "files": {}})]
    await client.package()
    assert requests.last() == ("GET", f"{API}/work-packages/p1", "secret")


@pytest.mark.trio
@pytest.mark.parametrize(("accession", "segment"), [("GHGAF01", "GHGAF01"), ("../../x?y#z", "..%2F..%2Fx%3Fy%23z")])
async def test_a_token_for_a_file_is_asked_for_without_a_body_and_cannot_lead_elsewhere(
    client: WorkPackageClient, requests: KeptRequests, accession: str, segment: str
) -> None:
    requests.answers = [(403, {})]
    with pytest.raises(RefusedError):
        await client.download_token(accession).get()
    assert requests.last() == ("POST", f"{API}/work-packages/p1/files/{segment}/work-order-tokens", "secret")
    assert requests.last_body() is None


@pytest.mark.trio
async def test_a_token_for_a_box_says_what_it_is_for(client: WorkPackageClient, requests: KeptRequests) -> None:
    requests.answers = [(403, {})]
    with pytest.raises(RefusedError):
        await client.box_token(BOX, "upload", file_id=FILE).get()
    assert requests.last() == ("POST", f"{API}/work-packages/p1/boxes/{BOX}/work-order-tokens", "secret")
    assert requests.last_body() == {"work_type": "upload", "alias": None, "file_id": str(FILE)}


def test_a_package_for_downloads(reply: Reply) -> None:
    body = {
        "type": "download",
        "files": {"GHGAF01": ".bam"},
        "research_data_upload_box_id": None,
        "file_upload_box_id": None,
        "created": "2026-01-01T00:00:00Z",
        "expires": "2026-02-01T00:00:00+00:00",
    }
    package = read_package(reply(200, body))
    assert package.files == {"GHGAF01": ".bam"}
    assert package.expires is not None
    assert package.expires.year == 2026


def test_a_package_for_uploads_names_both_boxes(reply: Reply) -> None:
    body = {"type": "upload", "files": None, "research_data_upload_box_id": str(BOX), "file_upload_box_id": str(FILE)}
    package = read_package(reply(200, body))
    assert (package.research_data_upload_box_id, package.file_upload_box_id) == (BOX, FILE)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_or_expired_access_token_is_said_to_be_that(reply: Reply, status: int) -> None:
    with pytest.raises(RefusedError, match="access token") as caught:
        read_package(reply(status, {"detail": "no"}))
    assert not caught.value.advice.again
    assert "new one" in caught.value.hint


@pytest.mark.parametrize(
    "body", [{}, {"type": "gift"}, {"type": "upload", "file_upload_box_id": "7"}, {"type": "download", "files": ["a"]}]
)
def test_a_package_of_another_shape_is_the_archives_fault(reply: Reply, body: dict[str, Any]) -> None:
    with pytest.raises(BrokenError):
        read_package(reply(200, body))


class Tokens:
    """A work package service as far as its tokens go, with a client for it."""

    def __init__(self, answered_by: Any, seconds: float = 30.0) -> None:
        self.archive = FakeArchive(KeyPair.of(b"u" * 32))
        self.archive.token_seconds = seconds
        caller = ApiClient(ApiTransport(answered_by(self.archive)), Retrier(), SilentObserver())
        access = AccessToken.parse(self.archive.access_token)
        self.client = WorkPackageClient(caller, lambda: f"{BASE}/wps/", access, self.archive.user)


@pytest.mark.trio
async def test_all_transfers_of_a_session_share_the_token_of_an_operation(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    tokens = Tokens(answered_by)
    orders = [tokens.client.box_token(BOX, "view") for _ in range(32)]
    async with trio.open_nursery() as nursery:
        for order in orders:
            nursery.start_soon(order.get)
    await tokens.client.download_token("GHGAF01").get()
    await tokens.client.download_token("GHGAF01").get()
    assert tokens.archive.orders == ["view", "download"]


@pytest.mark.trio
async def test_a_token_that_came_after_a_long_pause_is_as_good_as_any(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    """Its time counts from the request that brought it, not from the first that was refused."""
    tokens = Tokens(answered_by)
    tokens.archive.fail("order", 503, retry_after="60")
    order = tokens.client.box_token(BOX, "view")
    first = await order.get()
    assert trio.current_time() >= 60
    await trio.sleep(20)
    assert await order.get() is first
    await trio.sleep(10)
    assert await order.get() is not first


@pytest.mark.trio
async def test_no_other_operation_gets_it(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    client = Tokens(answered_by).client
    orders = [
        client.download_token("GHGAF01"),
        client.download_token("GHGAF02"),
        client.box_token(BOX, "create", alias="a"),
        client.box_token(BOX, "create", alias="b"),
        client.box_token(BOX, "upload", file_id=FILE),
        client.box_token(BOX, "close", file_id=FILE),
        client.box_token(FILE, "upload", file_id=FILE),
    ]
    assert len({(await order.get()).token for order in orders}) == len(orders)


@pytest.mark.trio
async def test_tokens_of_files_that_are_done_do_not_pile_up(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    tokens = Tokens(answered_by)
    for number in range(600):
        await tokens.client.download_token(f"GHGAF{number}").get()
        await trio.sleep(1.0)
    gc.collect()  # what other tests have left in this process
    kept = [held for held in gc.get_objects() if type(held) is WorkOrderToken]
    assert len(kept) <= 256
    assert tokens.archive.counts["order"] == 600


@pytest.mark.parametrize("text", ["p1:AAAA==", " p1:AA\nAA== \n", '"p1:AAAA=="', "'p1:AAAA=='\r\n", "p1 : AAAA=="])
def test_a_token_as_people_and_files_of_variables_give_it(text: str) -> None:
    assert AccessToken.parse(text) == AccessToken("p1", "AAAA==")


@pytest.mark.trio
async def test_a_word_before_the_token_is_told(requests: KeptRequests) -> None:
    access = AccessToken("Bearerp1", seal_text("secret", KEYS.public))
    requests.answers = [(422, {"detail": [{"msg": "not a UUID"}]})]
    with pytest.raises(RefusedError) as caught:
        await WorkPackageClient(requests.api, lambda: API, access, KEYS).package()
    assert "whole token" in caught.value.hint
