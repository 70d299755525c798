"""The download service: DRS objects and their lifetimes, the wait for staging, envelopes in both spellings."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from connector.clients.api_transport import TokenRefusedError
from connector.clients.downloads import (
    USUAL_STAGING_WAIT,
    USUAL_URL_LIFETIME,
    DownloadClient,
    read_envelope,
    read_object,
)
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.transfer import NotReadyError, OverloadedError
from tests.clients.conftest import KeptRequests, Reply

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


def drs(url: str | None = "https://s3.test/b/o?sig=1", **changes: Any) -> dict[str, Any]:
    methods = [] if url is None else [{"type": "s3", "access_url": {"url": url}}]
    body = {
        "id": "GHGAF01",
        "self_uri": "drs://a.test/GHGAF01",
        "size": 65564,
        "created_time": "2026-01-01T00:00:00Z",
        "checksums": [{"checksum": "AB" * 32, "type": "sha-256"}],
        "access_methods": methods,
    }
    return body | changes


@pytest.mark.trio
async def test_requests_carry_the_accession_and_the_token(requests: KeptRequests) -> None:
    client = DownloadClient(requests.api, lambda: "https://a.test/dcs/")
    requests.answers = [(200, drs()), (200, "YQ==")]
    await client.object(requests.token, "a/b")
    assert requests.last() == ("GET", "https://a.test/dcs/objects/a%2Fb", "t")
    assert await client.envelope(requests.token, "a") == b"a"
    assert requests.last() == ("GET", "https://a.test/dcs/objects/a/envelopes", "t")


def test_an_object_is_lent_for_as_long_as_the_answer_is_fresh(reply: Reply) -> None:
    lent = read_object(reply(200, drs(), cache_control="max-age=60, private"))
    assert lent.seconds == 55.0
    assert (lent.value.url, lent.value.size) == ("https://s3.test/b/o?sig=1", 65564)
    assert lent.value.plaintext_sha256 == "ab" * 32


def test_an_object_is_lent_for_as_long_as_its_url_is_good_if_that_is_shorter(reply: Reply) -> None:
    url = "https://s3.test/b/o?X-Amz-Date=20151021T072750Z&X-Amz-Expires=30&X-Amz-Signature=0"
    lent = read_object(reply(200, drs(url), cache_control="max-age=60", date=DATE))
    assert lent.seconds == pytest.approx(20 * 0.85)


def test_an_archive_that_says_nothing_is_taken_for_the_usual(reply: Reply) -> None:
    lent = read_object(reply(200, drs()))
    assert lent.seconds == USUAL_URL_LIFETIME - 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "3", "cache_control": "no-store"}, 3.0),
        ({}, USUAL_STAGING_WAIT),
        ({"retry_after": "soon"}, USUAL_STAGING_WAIT),
        ({"retry_after": "Wed, 21 Oct 2015 07:29:00 GMT", "date": DATE}, 60.0),
    ],
)
def test_staging_takes_the_time_that_the_archive_names(reply: Reply, headers: dict[str, Any], seconds: float) -> None:
    with pytest.raises(NotReadyError) as caught:
        read_object(reply(202, b"", **headers))
    assert caught.value.seconds == seconds


@pytest.mark.parametrize("body", [drs(None), drs(size=0), drs(size=-1), drs(size=10**30)])
def test_an_object_that_cannot_be_fetched_is_none(reply: Reply, body: Any) -> None:
    with pytest.raises(BrokenError, match=r"address|size"):
        read_object(reply(200, body))


@pytest.mark.parametrize("body", [b"", {}, drs(size="1"), drs(size=True), drs(checksums="x"), drs(access_methods=None)])
def test_an_answer_of_another_shape_is_the_archives_fault(reply: Reply, body: Any) -> None:
    with pytest.raises(BrokenError):
        read_object(reply(200, body))


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (401, TokenRefusedError, False),
        (403, RefusedError, False),
        (404, RefusedError, False),
        (503, OverloadedError, True),
    ],
)
def test_refusals_of_both_requests(reply: Reply, status: int, kind: type[ConnectorError], again: bool) -> None:
    for read in (read_object, read_envelope):
        with pytest.raises(kind) as caught:
            read(reply(status))
        assert caught.value.advice.again is again


ENVELOPE = bytes(range(124))
TEXT = base64.b64encode(ENVELOPE)


@pytest.mark.parametrize("body", [b'"' + TEXT + b'"', TEXT, TEXT + b"\n", b' "' + TEXT + b'" '])
def test_an_envelope_may_come_quoted_or_bare(reply: Reply, body: Any) -> None:
    assert read_envelope(reply(200, body)) == ENVELOPE


@pytest.mark.parametrize("body", [b'"abc', b"{}", b"%%%%", b"\xff", b'"\\ud800"', TEXT[:-1], b"[" * 5000])
def test_an_envelope_that_is_none_is_the_archives_fault(reply: Reply, body: Any) -> None:
    with pytest.raises(BrokenError, match="envelope"):
        read_envelope(reply(200, body))
