"""Where the archive's APIs are, and the keys of its data hubs."""

from __future__ import annotations

import base64

import pytest

from connector.clients.well_known import build_values_request, hub_key, read_values
from connector.errors import BrokenError, RefusedError

KEY = bytes(range(32))
VALUES = {
    "crypt4gh_public_keys": {"HD01": base64.b64encode(KEY).decode()},
    "wps_api_url": "https://a.test/wps",
    "dcs_api_url": "https://a.test/dcs",
    "ucs_api_url": "https://a.test/ucs",
}


@pytest.mark.parametrize("url", ["https://a.test/wkvs", "https://a.test/wkvs/"])
def test_all_values_are_asked_for_at_once(url):
    request = build_values_request(url)
    assert (request.method, request.url, request.token) == ("GET", "https://a.test/wkvs/values", None)


def test_values_are_read_and_what_else_is_there_passed_over(reply):
    values = read_values(reply(200, VALUES | {"motto": "more"}))
    assert (values.wps_api_url, values.dcs_api_url, values.ucs_api_url) == (
        "https://a.test/wps",
        "https://a.test/dcs",
        "https://a.test/ucs",
    )
    assert hub_key(values, "HD01") == KEY


@pytest.mark.parametrize(
    "body", [b"<html>", [], {}, VALUES | {"wps_api_url": None}, VALUES | {"crypt4gh_public_keys": []}]
)
def test_something_else_at_that_address_is_named(reply, body):
    with pytest.raises(BrokenError, match=r"https://a\.test"):
        read_values(reply(200, body))


def test_no_values_there(reply):
    with pytest.raises(RefusedError):
        read_values(reply(404))


@pytest.mark.parametrize(
    "key", ["", "AAAA", "!" * 44, base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(64)).decode()]
)
def test_a_key_that_is_none_is_not_used(reply, key):
    values = read_values(reply(200, VALUES | {"crypt4gh_public_keys": {"HD01": key}}))
    with pytest.raises(BrokenError, match="no usable public key for its storage 'HD01'"):
        hub_key(values, "HD01")


def test_a_storage_without_a_key_is_not_written_to(reply):
    with pytest.raises(BrokenError, match="'HD02'"):
        hub_key(read_values(reply(200, VALUES)), "HD02")
