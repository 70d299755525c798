"""When the ETag of a part is an md5, and when it is only an ETag."""

from __future__ import annotations

from typing import Any

import pytest

from connector.clients.object_responses import EtagRecord, stored_md5

MD5, OTHER = "d41d8cd98f00b204e9800998ecf8427e", "0" * 32
SSE = "x-amz-server-side-encryption"


@pytest.mark.parametrize(
    ("headers", "md5"),
    [
        ({"etag": f'"{MD5}"'}, MD5),
        ({"ETag": MD5}, MD5),
        ({"etag": f' "{MD5.upper()}" '}, MD5),
        ({"etag": f'"{MD5}"', SSE: "AES256"}, MD5),
        ({"etag": f'"{MD5}"', "X-Amz-Server-Side-Encryption": "aws:kms"}, None),
        ({"etag": f'"{MD5}"', SSE: "aws:kms:dsse"}, None),
        ({"etag": f'"{MD5}"', f"{SSE}-customer-algorithm": "AES256"}, None),
        ({"etag": f'"{MD5}"', "x-goog-encryption-kms-key-name": "projects/p"}, None),
        ({"etag": f'W/"{MD5}"'}, None),
        ({"etag": f'"{MD5}-2"'}, None),
        ({"etag": '"0x8DC0FFEE"'}, None),
        ({"etag": '""'}, None),
        ({}, None),
    ],
)
def test_an_etag_is_an_md5_where_nothing_speaks_against_it(headers: dict[str, Any], md5: str | None) -> None:
    assert stored_md5(headers) == md5


@pytest.mark.parametrize(
    ("stored", "damaged"),
    [
        ([None, None], [False, False]),
        ([MD5, OTHER, OTHER, MD5], [False, True, True, False]),
        ([OTHER, MD5, OTHER], [True, False, True]),
        ([OTHER, OTHER, OTHER], [True, False, False]),
        ([OTHER, OTHER, MD5, OTHER], [True, False, False, True]),
    ],
)
def test_damage_is_claimed_where_etags_have_proved_to_be_md5s(stored: list[Any], damaged: list[bool]) -> None:
    record = EtagRecord()
    assert [record.is_damaged(MD5, one) for one in stored] == damaged
