from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.parts import digest_part, multipart_etag


def test_the_etag_of_an_upload_that_s3_made() -> None:
    """Two parts, 5 MiB of zeros and one byte: what S3 says of them, worked out once with md5sum and xxd."""
    zeros, one = "5f363e0e58a95f06cbe9bbc662c5dfb6", "93b885adfe0da089cdf634904fd59f71"
    assert hashlib.md5(bytes(5 * 1024**2)).hexdigest() == zeros
    assert hashlib.md5(b"\0").hexdigest() == one
    assert multipart_etag([zeros, one]) == ETAG_OF_BOTH


# printf '%s%s' 5f363e0e58a95f06cbe9bbc662c5dfb6 93b885adfe0da089cdf634904fd59f71 | xxd -r -p | md5sum
ETAG_OF_BOTH = "92f3a08aa3b1d7eb318ab9c2fc4a6ec3-2"


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_the_etag_is_that_of_the_binary_digests(parts: list[bytes]) -> None:
    binary = b"".join(hashlib.md5(part).digest() for part in parts)
    assert multipart_etag(hashlib.md5(part).hexdigest() for part in parts) == (
        f"{hashlib.md5(binary).hexdigest()}-{len(parts)}"
    )


def test_the_order_of_parts_counts() -> None:
    md5s = [hashlib.md5(name).hexdigest() for name in (b"a", b"b")]
    assert multipart_etag(md5s) != multipart_etag(reversed(md5s))


def test_one_part_is_still_a_multipart_etag() -> None:
    md5 = hashlib.md5(b"a").hexdigest()
    assert multipart_etag([md5]) != f"{md5}-1"
    assert re.fullmatch("[0-9a-f]{32}-1", multipart_etag([md5]))


def test_no_digest_is_taken_for_hex_that_is_none() -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        multipart_etag(["not hex"])


def test_both_digests_of_a_part() -> None:
    digests = digest_part(memoryview(b"_abc_")[1:-1])
    assert digests.md5 == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321, A.5
    assert digests.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180, abc
