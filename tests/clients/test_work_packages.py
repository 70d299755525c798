"""The work package service: requests as the contract spells them, answers with all that they may be."""

from __future__ import annotations

from uuid import UUID

import pytest

from connector.clients.work_packages import (
    build_box_order,
    build_download_order,
    build_package_request,
    read_package,
)
from connector.core.payloads import WorkOrderRequest
from connector.errors import BrokenError, RefusedError

API = "https://a.test/wps"
BOX = UUID(int=1)
FILE = UUID(int=2)


def test_a_package_is_asked_for_with_the_opened_access_token():
    request = build_package_request(API, "p1", "secret")
    assert (request.method, request.url) == ("GET", "https://a.test/wps/work-packages/p1")
    assert request.headers["Authorization"] == "Bearer secret"


def test_a_token_for_a_file_is_asked_for_without_a_body():
    request = build_download_order(API, "p1", "secret", "GHGAF01")
    assert (request.method, request.body) == ("POST", None)
    assert request.url == "https://a.test/wps/work-packages/p1/files/GHGAF01/work-order-tokens"


def test_an_accession_cannot_lead_elsewhere():
    request = build_download_order(API, "p1", "secret", "../../x?y#z")
    assert request.url == "https://a.test/wps/work-packages/p1/files/..%2F..%2Fx%3Fy%23z/work-order-tokens"


def test_a_token_for_a_box_says_what_it_is_for():
    request = build_box_order(API, "p1", "secret", BOX, WorkOrderRequest("upload", file_id=FILE))
    assert request.method == "POST"
    assert request.url == f"https://a.test/wps/work-packages/p1/boxes/{BOX}/work-order-tokens"
    assert request.data == {"work_type": "upload", "alias": None, "file_id": str(FILE)}


def test_a_package_for_downloads(reply):
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


def test_a_package_for_uploads_names_both_boxes(reply):
    body = {"type": "upload", "files": None, "research_data_upload_box_id": str(BOX), "file_upload_box_id": str(FILE)}
    package = read_package(reply(200, body))
    assert (package.research_data_upload_box_id, package.file_upload_box_id) == (BOX, FILE)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_or_expired_access_token_is_said_to_be_that(reply, status):
    with pytest.raises(RefusedError, match="does not accept your access token") as caught:
        read_package(reply(status, {"detail": "no"}))
    assert not caught.value.advice.again
    assert "new one" in caught.value.hint


@pytest.mark.parametrize(
    "body", [{}, {"type": "gift"}, {"type": "upload", "file_upload_box_id": "7"}, {"type": "download", "files": ["a"]}]
)
def test_a_package_of_another_shape_is_the_archives_fault(reply, body):
    with pytest.raises(BrokenError):
        read_package(reply(200, body))
