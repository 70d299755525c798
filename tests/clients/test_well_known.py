"""Where the archive's APIs are, and the keys of its data hubs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.clients.api_client import ApiClient, CachedValue, Expiring, WorkOrderToken
from connector.clients.api_transport import ApiTransport
from connector.clients.downloads import DownloadClient
from connector.clients.well_known import (
    SHORTEST_LIFETIME,
    USUAL_LIFETIME,
    WellKnown,
    hub_key,
    read_values,
)
from connector.errors import BrokenError, RefusedError
from connector.transfer import NotReadyError, Retrier, SilentObserver
from tests.clients.conftest import Handler, KeptRequests, Reply

KEY = bytes(range(32))
VALUES = {
    "crypt4gh_public_keys": {"HD01": base64.b64encode(KEY).decode()},
    "wps_api_url": "https://a.test/wps",
    "dcs_api_url": "https://a.test/dcs",
    "ucs_api_url": "https://a.test/ucs",
}


@pytest.mark.trio
@pytest.mark.parametrize("url", ["https://a.test/wkvs", "https://a.test/wkvs/"])
async def test_all_values_are_asked_for_at_once(requests: KeptRequests, url: str) -> None:
    requests.answers = [(200, VALUES)]
    await WellKnown(requests.api, url).refresh()
    assert requests.last() == ("GET", "https://a.test/wkvs/values", None)


def test_values_are_read_and_what_else_is_there_passed_over(reply: Reply) -> None:
    values = read_values(reply(200, VALUES | {"motto": "more"})).value
    assert (values.wps_api_url, values.dcs_api_url, values.ucs_api_url) == (
        "https://a.test/wps",
        "https://a.test/dcs",
        "https://a.test/ucs",
    )
    assert hub_key(values, "HD01") == KEY


@pytest.mark.parametrize(
    "body", [b"<html>", [], {}, VALUES | {"wps_api_url": None}, VALUES | {"crypt4gh_public_keys": []}]
)
def test_something_else_at_that_address_is_named(reply: Reply, body: Any) -> None:
    with pytest.raises(BrokenError, match=r"https://a\.test"):
        read_values(reply(200, body))


def test_no_values_there(reply: Reply) -> None:
    with pytest.raises(RefusedError):
        read_values(reply(404))


@pytest.mark.parametrize(
    "key", ["", "AAAA", "!" * 44, base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(64)).decode()]
)
def test_a_key_that_is_none_is_not_used(reply: Reply, key: Any) -> None:
    values = read_values(reply(200, VALUES | {"crypt4gh_public_keys": {"HD01": key}})).value
    with pytest.raises(BrokenError, match="HD01"):
        hub_key(values, "HD01")


def test_a_storage_without_a_key_is_not_written_to(reply: Reply) -> None:
    with pytest.raises(BrokenError, match="'HD02'"):
        hub_key(read_values(reply(200, VALUES)).value, "HD02")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, USUAL_LIFETIME - 5),
        ({"cache_control": "max-age=600"}, 595.0),
        ({"cache_control": "max-age=600", "age": "500"}, 95.0),
        ({"cache_control": "no-store"}, SHORTEST_LIFETIME),
        ({"cache_control": "max-age=1"}, SHORTEST_LIFETIME),
    ],
)
def test_they_hold_as_long_as_they_say(reply: Reply, headers: dict[str, Any], seconds: float) -> None:
    assert read_values(reply(200, VALUES, **headers)).seconds == seconds


@attrs.define
class Service:
    """A well-known values service, and a download service wherever it is at the moment."""

    values: dict[str, Any] = attrs.field(factory=lambda: dict(VALUES))
    fails: str = ""
    asked: list[float] = attrs.field(factory=list)
    objects: list[str] = attrs.field(factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/wkvs/values":
            self.objects.append(str(request.url))
            return httpx.Response(202, headers={"Retry-After": "1"})
        self.asked.append(trio.current_time())
        if self.fails == "silent":
            await trio.sleep(1000)
        return httpx.Response(503) if self.fails else httpx.Response(200, json=self.values)


def well_known(service: Service, answered_by: Any) -> tuple[WellKnown, ApiClient]:
    exchange, retrier = ApiTransport(answered_by(service)), Retrier(attempts=3)
    values = WellKnown(ApiClient(exchange, retrier, SilentObserver()), "https://a.test/wkvs")
    return values, ApiClient(exchange, retrier, SilentObserver(), refresh=values.refresh)


@pytest.mark.trio
async def test_a_session_of_days_follows_an_archive_that_moves(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    service = Service()
    values, caller = well_known(service, answered_by)

    async def order() -> Expiring[WorkOrderToken]:
        return Expiring(WorkOrderToken("t"), 30.0)

    client, lease = DownloadClient(caller, lambda: values.values.dcs_api_url), CachedValue(order)

    async def ask() -> None:
        with pytest.raises(NotReadyError):  # it is being staged
            await client.object(lease, "GHGAF01")

    await ask()
    await ask()
    assert len(service.asked) == 1
    key = bytes(reversed(KEY))
    service.values |= {
        "dcs_api_url": "https://b.test/dcs/",
        "crypt4gh_public_keys": {"HD01": base64.b64encode(key).decode()},
    }
    await trio.sleep(86_400)
    await ask()
    assert service.objects == [*["https://a.test/dcs/objects/GHGAF01"] * 2, "https://b.test/dcs/objects/GHGAF01"]
    assert len(service.asked) == 2
    assert hub_key(values.values, "HD01") == key


@pytest.mark.trio
@pytest.mark.parametrize("fails", ["silent", "503"])
async def test_known_values_stay_in_use_while_the_service_is_down(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock, fails: str
) -> None:
    service = Service()
    values, _ = well_known(service, answered_by)
    await values.refresh()
    service.fails = fails
    await trio.sleep(3600)
    await values.refresh()
    assert values.values.wps_api_url == "https://a.test/wps"
    assert trio.current_time() <= 3610
    assert len(service.asked) == 2, "one try: others wait for this one"
    await values.refresh()
    assert len(service.asked) == 2
    service.fails = ""
    await trio.sleep(301)
    await values.refresh()
    assert len(service.asked) == 3


@pytest.mark.trio
async def test_without_any_values_there_is_nothing_to_go_on_with(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    service = Service(fails="503")
    values, _ = well_known(service, answered_by)
    with pytest.raises(BrokenError, match="503"):
        await values.refresh()
    assert len(service.asked) == 3


@pytest.mark.trio
async def test_a_hub_that_is_newer_than_the_values_is_looked_up(
    answered_by: Callable[[Handler], httpx.AsyncClient], autojump_clock: MockClock
) -> None:
    service = Service()
    values, _ = well_known(service, answered_by)
    await values.refresh()
    service.values["crypt4gh_public_keys"] = {"HD02": base64.b64encode(KEY).decode()}
    assert await values.hub_key("HD02") == KEY
    assert len(service.asked) == 2
    with pytest.raises(BrokenError, match="'HD03'"):
        await values.hub_key("HD03")
    assert len(service.asked) == 3
