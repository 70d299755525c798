"""Everything that reads what comes from outside: whatever it is given, no error but those of the families, no hang."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from connector.cli.console import neutralised, redacted
from connector.cli.tsv import parse_tsv
from connector.clients.api_transport import ApiReply, error_from_response, server_of
from connector.clients.downloads import read_envelope, read_object
from connector.clients.uploads import read_created, read_page, read_part_url
from connector.clients.well_known import hub_key, read_values
from connector.clients.work_packages import (
    AccessToken,
    WorkOrderClaims,
    read_claims,
    read_package,
    read_work_order_token,
)
from connector.config import load_settings, parse_size
from connector.crypt4gh.keys import KeyPair, header_size, make_header, open_header, open_text, seal_text
from connector.errors import ConnectorError
from connector.local.journal import encode_record, read_journal
from connector.local.targets import safe_file_name
from connector.upload.journals import UploadSource, check_alias
from connector.wire.lifetimes import (
    parse_cache_control,
    parse_delta_seconds,
    parse_http_date,
    presigned_lifetime,
    response_lifetime,
    retry_after,
    usable_seconds,
)
from connector.wire.payloads import (
    CreatedUpload,
    DrsObject,
    ErrorBody,
    FileUploadPage,
    WellKnownValues,
    WorkPackage,
    parse_payload,
)
from tests.fuzz.conftest import Fuzz
from tests.support.journal_lines import head_line, part_line, written_line

KEYS = KeyPair.of(b"u" * 32)
ENVELOPE = make_header(b"k" * 32, sender_private_key=KEYS.private, recipient_public_keys=[KEYS.public])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@contextlib.contextmanager
def our_errors_only() -> Any:
    with contextlib.suppress(ConnectorError):
        yield


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """What becomes of ``good`` when pieces of it are replaced, dropped, doubled or cut off."""

    def mutate(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(good)
        for at, length, piece in edits:
            at %= len(data) + 1
            data[at : at + length] = piece
        return bytes(data)

    edit = st.tuples(st.integers(0, 10**6), st.integers(0, 8), st.binary(max_size=8))
    return st.lists(edit, max_size=6).map(mutate)


# Crypt4GH envelopes --------------------------------------------------------------------------------------------------


def packets() -> st.SearchStrategy[bytes]:
    one = st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=200)).map(lambda p: struct.pack("<I", p[0]) + p[1])
    honest = st.binary(max_size=200).map(lambda body: struct.pack("<I", len(body) + 4) + body)
    count = st.integers(0, 2**32 - 1) | st.integers(0, 3)
    return st.tuples(st.integers(0, 3), count, st.lists(one | honest, max_size=4)).map(
        lambda all_: b"crypt4gh" + struct.pack("<II", all_[0], all_[1]) + b"".join(all_[2])
    )


def test_envelopes(fuzz: Fuzz) -> None:
    def check(data: bytes) -> None:
        with our_errors_only():
            size = header_size(data)
            assert size is None or 16 <= size <= len(data)
        with our_errors_only():
            opened = open_header(data, KEYS.private)
            assert opened.size <= len(data)
            assert opened.session_keys

    assert fuzz(st.binary() | packets() | mutated(ENVELOPE), check) > 50


# Journals ------------------------------------------------------------------------------------------------------------

JOURNAL = b"".join(
    [
        head_line("download", {"accession": "A", "size": 100}),
        written_line(1, "boot"),
        part_line(1, {"md5": "x"}),
        part_line(2, {}),
    ]
)
records = st.dictionaries(st.text(), json_values, max_size=4) | st.fixed_dictionaries(
    {"journal": st.just(1) | json_values}, optional={"part": json_values, "written": json_values, "boot": json_values}
)


def test_journals(fuzz: Fuzz) -> None:
    def check(data: bytes) -> None:
        journal = read_journal(data)
        if journal is not None:
            assert 0 < journal.length <= len(data)
            assert all(isinstance(number, int) and number > 0 for number in journal.parts)
            journal.unsynced("boot")
            again = read_journal(data[: journal.length])
            # Compared as text, since NaN is not equal to itself.
            assert again is not None
            assert (repr(again.head), again.length) == (repr(journal.head), journal.length)

    valid = st.lists(records, max_size=5).map(lambda all_: b"".join(map(encode_record, all_)))
    assert fuzz(st.binary() | mutated(JOURNAL) | valid, check) > 50


def test_unfinished_transfers_of_any_journal(fuzz: Fuzz, tmp_path: Path) -> None:
    from connector.download.unfinished import unfinished_downloads
    from connector.upload.listing import unfinished_uploads

    facts = st.dictionaries(
        st.sampled_from(["accession", "size", "part_size", "alias", "path", "box", "file_id", "sha256", "secrets"]),
        json_values | st.just("00000000-0000-0000-0000-000000000001") | st.integers(0, 100),
    )

    def check(given: tuple[str, dict[str, Any], list[int]]) -> None:
        kind, head, parts = given
        data = head_line(kind, head) + b"".join(part_line(number, {}) for number in parts)
        (tmp_path / "x.part.journal").write_bytes(data)
        (tmp_path / "x.upload").write_bytes(data)
        with our_errors_only():
            unfinished_downloads(tmp_path)
            unfinished_uploads(tmp_path)

    kinds = st.sampled_from(["download", "download-decrypted", "upload", "upload-announced", "other"])
    assert fuzz(st.tuples(kinds, facts, st.lists(st.integers(1, 9), max_size=3)), check) > 20


def test_uploads_that_are_gone_on_with_from_any_journal(fuzz: Fuzz, tmp_path: Path) -> None:
    from uuid import UUID

    from connector.crypt4gh.keys import seal_text
    from connector.local.files import SourceState
    from connector.upload.journals import UploadJournals

    box, source, state = UUID(int=1), UploadSource(tmp_path / "x", "x"), SourceState(10, 5, 1, 1)
    journals = UploadJournals(tmp_path, KEYS, box)
    source.path.write_bytes(bytes(10))
    good_secrets = seal_text(json.dumps({"session_key": "AAAA", "nonce_seed": "AAAA"}), KEYS.public)
    facts = st.fixed_dictionaries(
        {"size": st.just(10), "mtime_ns": st.just(5)},
        optional={
            "file_id": json_values | st.just(str(box)),
            "part_size": json_values | st.just(5),
            "envelope": json_values | st.just("AAAA"),
            "secrets": json_values | st.just(good_secrets) | json_values.map(lambda v: seal_text(repr(v), KEYS.public)),
            "alias": json_values,
        },
    )

    def check(given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        head, part = given
        journals.path(source).write_bytes(head_line("upload", head) + encode_record({"part": 1, **part}))
        journals.find(source, state)

    part_facts = st.dictionaries(st.sampled_from(["md5", "sha256", "plain"]), json_values)
    assert fuzz(st.tuples(facts, part_facts), check) > 20


# What the APIs answer ------------------------------------------------------------------------------------------------

names = [
    "type", "files", "research_data_upload_box_id", "file_upload_box_id", "created", "expires", "id", "self_uri",
    "size", "checksums", "access_methods", "access_url", "url", "checksum", "file_id", "alias", "storage_alias",
    "items", "total_count", "state", "crypt4gh_public_keys", "wps_api_url", "dcs_api_url", "ucs_api_url",
    "exception_id", "description", "data",
]  # fmt: skip
shaped = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["download", "sha-256", "s3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names) | st.text(), inner, max_size=8),
    max_leaves=25,
)
VALUES = {
    "crypt4gh_public_keys": {"HD": "A" * 43 + "="},
    "wps_api_url": "http://a",
    "dcs_api_url": "http://a",
    "ucs_api_url": "http://a",
}
DRS = {
    "id": "A",
    "self_uri": "drs://a",
    "size": 65564,
    "checksums": [{"checksum": "ab", "type": "sha-256"}],
    "access_methods": [
        {"type": "s3", "access_url": {"url": "http://a/b?X-Amz-Expires=60&X-Amz-Date=20260101T000000Z"}}
    ],
}
bodies = (
    st.binary()
    | shaped.map(lambda value: json.dumps(value).encode())
    | mutated(json.dumps(VALUES).encode())
    | mutated(json.dumps(DRS).encode())
)
headers = st.dictionaries(
    st.sampled_from(["cache-control", "age", "date", "expires", "retry-after"]), st.text(max_size=60), max_size=5
)


@pytest.mark.parametrize("kind", [WellKnownValues, WorkPackage, DrsObject, CreatedUpload, FileUploadPage, ErrorBody])
def test_payloads(fuzz: Fuzz, kind: Any) -> None:
    def check(body: bytes) -> None:
        with our_errors_only():
            assert isinstance(parse_payload(body, kind), kind)

    assert fuzz(bodies, check) > 50


def test_answers(fuzz: Fuzz) -> None:
    readers: list[Callable[[ApiReply], object]] = [
        read_values,
        read_package,
        read_object,
        read_envelope,
        read_page,
        read_part_url,
        lambda reply: read_created(reply, "alias"),
        lambda reply: read_work_order_token(reply, KEYS),
        lambda reply: error_from_response(reply, "do it"),
    ]

    def check(given: tuple[int, dict[str, str], bytes]) -> None:
        reply = ApiReply(*given, server="http://a")
        for read in readers:
            with our_errors_only():
                str(read(reply))
        with our_errors_only():
            values = read_values(reply).value
            hub_key(values, next(iter(values.crypt4gh_public_keys), ""))

    statuses = st.sampled_from([200, 201, 202, 204, 302, 400, 401, 403, 404, 409, 429, 500, 503, 507]) | st.integers(
        100, 999
    )
    assert fuzz(st.tuples(statuses, headers, bodies), check) > 50


def test_tokens(fuzz: Fuzz) -> None:
    def check(claims: Any) -> None:
        parts: list[Any] = [{}, claims]
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        token = ".".join([*encoded, "c2ln"])
        with our_errors_only():
            assert isinstance(read_claims(token), WorkOrderClaims)
        body = json.dumps(seal_text(token, KEYS.public)).encode()
        with our_errors_only():
            read_work_order_token(ApiReply(201, {}, body), KEYS)

    lifetimes = st.dictionaries(st.sampled_from(["iat", "exp", "user_public_crypt4gh_key"]), json_values)
    assert fuzz(lifetimes | json_values, check) > 50


def test_texts_that_stand_for_secrets(fuzz: Fuzz) -> None:
    def check(text: str) -> None:
        for read in (read_claims, AccessToken.parse, lambda given: open_text(given, KEYS.private)):
            with our_errors_only():
                read(text)
        with our_errors_only():
            AccessToken.parse(f"package:{text}").bearer(KEYS.private)

    assert fuzz(st.text() | st.text("AZaz09+/=._-:", max_size=200), check) > 50


# Headers about time --------------------------------------------------------------------------------------------------

date_like = (
    st.text()
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | mutated(b"Wed, 21 Oct 2015 07:28:00 GMT").map(lambda data: data.decode("latin-1"))
    | mutated(b'max-age=60, private, no-store, s-maxage="5"').map(lambda data: data.decode("latin-1"))
    | st.integers().map(str)
)


def test_headers_about_time(fuzz: Fuzz) -> None:
    def check(given: dict[str, str]) -> None:
        for seconds in (
            retry_after(given),
            response_lifetime(given),
            presigned_lifetime("http://a/?" + "&".join(given.values()), given),
        ):
            assert seconds is None or 0 <= seconds < 2**40
        assert 0 <= usable_seconds([retry_after(given), response_lifetime(given)], otherwise=60) < 2**40
        for text in given.values():
            parse_cache_control(text)
            assert (parse_delta_seconds(text) or 0) >= 0
            moment = parse_http_date(text)
            assert moment is None or isinstance(moment, datetime)
            presigned_lifetime(text, given)
            presigned_lifetime(f"http://a/b?X-Amz-Expires={text}&X-Amz-Date={text}", given)
            server_of(text)

    fields = st.sampled_from(["cache-control", "age", "date", "expires", "retry-after"])
    assert fuzz(st.dictionaries(fields, date_like, max_size=5), check) > 50


# What people write ---------------------------------------------------------------------------------------------------


def test_lists_of_files(fuzz: Fuzz) -> None:
    def check(content: bytes) -> None:
        with our_errors_only():
            rows = parse_tsv(content, "list.tsv")
            assert rows
            assert len({alias for _, alias in rows}) == len(rows)

    lines = st.lists(st.text("ab\t #\r\n\0\u2028/.", max_size=12), max_size=6).map(
        lambda all_: "\n".join(all_).encode()
    )
    assert fuzz(st.binary() | lines | mutated(b"a.bin\ta\nb.bin\tb\n"), check) > 50


def test_names_sizes_and_settings(fuzz: Fuzz) -> None:
    from pathlib import Path

    def check(text: str) -> None:
        name = safe_file_name(text)
        assert "/" not in name
        assert "\\" not in name
        assert name.isprintable()
        with contextlib.suppress(ValueError):
            assert parse_size(text) >= 0
        with our_errors_only():
            check_alias(UploadSource(Path("x"), text))
        for name in ("wkvs_url", "part_size", "read_timeout", "max_concurrency", "proxy"):
            with our_errors_only():
                load_settings({name: text}, {}, None)
        with our_errors_only():
            load_settings({}, {}, text.encode("utf-8", "replace"))
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in neutralised(text))
        redacted(text)

    texts = st.text() | st.text(st.characters()) | st.sampled_from(["http://[", "1" * 400, "http://a:b@c", "²MiB"])
    assert fuzz(texts, check) > 50
