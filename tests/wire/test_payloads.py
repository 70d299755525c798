from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import BrokenError
from connector.wire import payloads
from connector.wire.payloads import (
    AccessMethod,
    AccessUrl,
    Checksum,
    CreatedUpload,
    DrsObject,
    ErrorBody,
    FileUpload,
    FileUploadPage,
    UploadCompletion,
    UploadCreation,
    WellKnownValues,
    WorkOrderRequest,
    WorkPackage,
    parse_json,
    parse_payload,
    read_payload,
    write_payload,
)

ID = UUID("1b4e28ba-2fa1-11d2-883f-0016d3cca427")

# One body of each kind as it stands on the wire, and what it means.
BODIES: list[tuple[Any, Any]] = [
    (
        {
            "crypt4gh_public_keys": {"HD01": "a2V5"},
            "wps_api_url": "https://wps",
            "dcs_api_url": "https://dcs",
            "ucs_api_url": "https://ucs",
        },
        WellKnownValues({"HD01": "a2V5"}, "https://wps", "https://dcs", "https://ucs"),
    ),
    (
        {
            "type": "download",
            "files": {"GHGAF1": ".bam"},
            "research_data_upload_box_id": None,
            "file_upload_box_id": None,
            "created": "2026-01-02T03:04:05+00:00",
            "expires": "2026-02-02T03:04:05+00:00",
        },
        WorkPackage(
            "download",
            {"GHGAF1": ".bam"},
            None,
            None,
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            datetime(2026, 2, 2, 3, 4, 5, tzinfo=UTC),
        ),
    ),
    ({"work_type": "close", "alias": None, "file_id": str(ID)}, WorkOrderRequest("close", file_id=ID)),
    (
        {
            "id": "GHGAF1",
            "self_uri": "drs://host/GHGAF1",
            "size": 65564,
            "checksums": [{"checksum": "ab", "type": "sha-256"}],
            "access_methods": [{"access_url": {"url": "https://s3"}, "type": "s3"}],
            "created_time": "2026",
            "name": "sample.bam",
        },
        DrsObject(
            "GHGAF1",
            "drs://host/GHGAF1",
            65564,
            (Checksum("ab", "sha-256"),),
            (AccessMethod(AccessUrl("https://s3"), "s3"),),
            "2026",
            "sample.bam",
        ),
    ),
    (
        {"alias": "a", "decrypted_size": 1, "encrypted_size": 153, "part_size": 5, "overwrite": True},
        UploadCreation("a", 1, 153, 5, overwrite=True),
    ),
    ({"file_id": str(ID), "alias": "a", "storage_alias": "HD01"}, CreatedUpload(ID, "a", "HD01")),
    (
        {
            "items": [
                {
                    "id": str(ID),
                    "alias": "a",
                    "state": "failed",
                    "decrypted_size": 1,
                    "encrypted_size": None,
                    "state_updated": "2026-11-27T10:00:00+00:00",
                    "failure_reason": "no",
                },
            ],
            "total_count": 12,
        },
        FileUploadPage((FileUpload(ID, "a", "failed", 1, None, "2026-11-27T10:00:00+00:00", "no"),), 12),
    ),
    (
        {
            "decrypted_sha256": "00",
            "encrypted_md5": "11-1",
            "encrypted_parts_md5": ["22"],
            "encrypted_parts_sha256": ["33"],
        },
        UploadCompletion("00", "11-1", ("22",), ("33",)),
    ),
    (
        {"exception_id": "boxNotFound", "description": "No box."},
        ErrorBody("boxNotFound", "No box."),
    ),
]
KINDS = [type(value) for _, value in BODIES]
names = [kind.__name__ for kind in KINDS]


@pytest.mark.parametrize(("body", "value"), BODIES, ids=names)
def test_a_body_is_read_and_written_as_it_stands_on_the_wire(body: Any, value: Any) -> None:
    assert read_payload(body, type(value)) == value
    written = write_payload(value)
    assert json.loads(json.dumps(written)) == body


@pytest.mark.parametrize(("body", "value"), BODIES, ids=names)
def test_fields_that_we_do_not_know_are_passed_over(body: Any, value: Any) -> None:
    assert read_payload({**body, "something_new": {"x": 1}}, type(value)) == value


REQUIRED = [
    (body, type(value), field)
    for body, value in BODIES
    for field in body
    if field in {a.name for a in type(value).__attrs_attrs__ if a.default.__class__.__name__ == "_Nothing"}
]


@pytest.mark.parametrize(
    ("body", "kind", "field"), REQUIRED, ids=[f"{kind.__name__}.{field}" for _, kind, field in REQUIRED]
)
def test_a_field_that_lacks_is_noticed_and_the_sender_named(body: Any, kind: type, field: str) -> None:
    with pytest.raises(BrokenError, match=f"upload service .* {kind.__name__}"):
        read_payload({name: value for name, value in body.items() if name != field}, kind, what="The upload service")


def changed(body: Any, **fields: Any) -> Any:
    return {**body, **fields}


CREATION, LISTING, DRS, PACKAGE = BODIES[4][0], BODIES[6][0], BODIES[3][0], BODIES[1][0]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (changed(CREATION, part_size="5"), UploadCreation),
        (changed(CREATION, part_size=5.0), UploadCreation),
        (changed(CREATION, part_size=True), UploadCreation),
        (changed(CREATION, part_size=None), UploadCreation),
        (changed(CREATION, alias=5), UploadCreation),
        (changed(CREATION, alias=None), UploadCreation),
        (changed(CREATION, overwrite=1), UploadCreation),
        (changed(CREATION, overwrite="yes"), UploadCreation),
        (changed(LISTING, total_count="12"), FileUploadPage),
        (changed(LISTING, items={}), FileUploadPage),
        (changed(LISTING, items="abc"), FileUploadPage),
        (changed(LISTING, items=[None]), FileUploadPage),
        (changed(LISTING, items=[{**LISTING["items"][0], "id": "no-uuid"}]), FileUploadPage),
        (changed(LISTING, items=[{**LISTING["items"][0], "id": 5}]), FileUploadPage),
        (changed(LISTING, items=[{**LISTING["items"][0], "decrypted_size": "1"}]), FileUploadPage),
        (changed(DRS, size="65564"), DrsObject),
        (changed(DRS, checksums=[["ab", "sha-256"]]), DrsObject),
        (changed(DRS, access_methods={"access_url": {"url": "https://s3"}}), DrsObject),
        (changed(DRS, access_methods=[{"access_url": "https://s3"}]), DrsObject),
        (changed(PACKAGE, type="sideload"), WorkPackage),
        (changed(PACKAGE, type=None), WorkPackage),
        (changed(PACKAGE, type=["download"]), WorkPackage),
        (changed(PACKAGE, files=["GHGAF1"]), WorkPackage),
        (changed(PACKAGE, files="GHGAF1"), WorkPackage),
        (changed(PACKAGE, files={"GHGAF1": 1}), WorkPackage),
        (changed(PACKAGE, created="yesterday"), WorkPackage),
        (changed(PACKAGE, created=1767322800), WorkPackage),
        (changed(PACKAGE, file_upload_box_id="x"), WorkPackage),
        (changed(BODIES[8][0], description=None), ErrorBody),
        ([], UploadCreation),
        (None, UploadCreation),
        ("body", UploadCreation),
        (5, UploadCreation),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(body: Any, kind: type) -> None:
    with pytest.raises(BrokenError):
        read_payload(body, kind)


def test_what_is_not_said_has_its_default() -> None:
    assert read_payload({"type": "upload"}, WorkPackage) == WorkPackage("upload")
    assert read_payload({}, ErrorBody) == ErrorBody()
    assert read_payload({"work_type": "create", "alias": "a"}, WorkOrderRequest) == WorkOrderRequest("create", "a")


def test_the_checksum_and_url_of_a_drs_object_are_the_useful_ones() -> None:
    drs = read_payload(
        changed(
            DRS,
            checksums=[{"checksum": "MD", "type": "md5"}, {"checksum": "AB12", "type": "sha-256"}],
            access_methods=[
                {"access_url": {"url": "ftp://other"}, "type": "ftp"},
                {"access_url": {"url": "https://s3"}, "type": "s3"},
            ],
        ),
        DrsObject,
    )
    assert (drs.plaintext_sha256, drs.url) == ("ab12", "https://s3")
    empty = read_payload(changed(DRS, checksums=[], access_methods=[]), DrsObject)
    assert (empty.plaintext_sha256, empty.url) == (None, None)


def test_a_presigned_url_is_not_shown() -> None:
    assert "https://s3" not in repr(BODIES[3][1])


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b'"\\ud8'],
    ids=["empty", "html", "open", "utf16", "deep list", "deep object", "long number", "half escape"],
)
def test_what_is_no_json_is_refused_by_a_sentence(body: bytes) -> None:
    with pytest.raises(BrokenError, match="not JSON"):
        parse_json(body)


def test_a_body_is_read_from_its_bytes() -> None:
    assert parse_payload(json.dumps(CREATION).encode(), UploadCreation) == BODIES[4][1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([str(ID), "2026"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=150)
def test_whatever_is_in_the_fields_only_a_broken_error_leaves(data: st.DataObject) -> None:
    body, value = data.draw(st.sampled_from(BODIES))
    replaced = {name: data.draw(json_values) for name in data.draw(st.sets(st.sampled_from(sorted(body)), min_size=1))}
    with suppress(BrokenError):
        read = read_payload({**body, **replaced}, type(value))
        text = json.dumps(write_payload(read))
        assert "NaN" in text or parse_payload(text.encode(), type(value)) == read


@given(st.sampled_from(KINDS), json_values | st.dictionaries(st.sampled_from(sorted(PACKAGE)), json_values))
@settings(max_examples=150)
def test_whatever_is_sent_only_a_broken_error_leaves(kind: type, data: Any) -> None:
    with suppress(BrokenError):
        assert isinstance(read_payload(data, kind), kind)


@given(st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode()))
def test_whatever_the_bytes_only_a_broken_error_leaves(body: bytes) -> None:
    for kind in (WorkPackage, FileUploadPage, ErrorBody):
        with suppress(BrokenError):
            assert isinstance(parse_payload(body, kind), kind)


def test_every_kind_of_body_is_looked_at_here() -> None:
    """A new class needs its body above, or it is one that only occurs inside another."""
    inside = {Checksum, AccessUrl, AccessMethod, FileUpload}
    classes = {
        value for value in vars(payloads).values() if isinstance(value, type) and value.__module__ == payloads.__name__
    }
    assert classes == inside | set(KINDS)
