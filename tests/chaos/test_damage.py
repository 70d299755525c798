"""Bytes that are not what they should be, over a real socket: healed where the source is good, refused where not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE
from tests.support.contract_client import seal
from tests.support.fake_archive import ENVELOPE
from tests.support.served_fake import Said, Scene, User, response

pytestmark = pytest.mark.parametrize("decrypt", [False, True], ids=["sealed", "decrypted"])


def tampering(user: User, tamper: Any) -> Scene:
    """A scene that serves a range of the object after ``tamper`` had its way with it."""

    async def scene(stream: trio.SocketStream, request: httpx.Request) -> None:
        content = user.archive.files["GHGAF01"].content
        start, stop = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        stop = min(stop + 1, len(content))
        body = tamper(bytearray(content[start:stop]))
        await stream.send_all(response(206, bytes(body), Content_Range=f"bytes {start}-{stop - 1}/{len(content)}"))

    return scene


def flipped(body: bytearray) -> bytearray:
    body[len(body) // 2] ^= 0x10
    return body


def swapped(body: bytearray) -> bytearray:
    size = CIPHER_SEGMENT_SIZE
    return body[size : 2 * size] + body[:size] + body[2 * size :]


def fetch(user: User, decrypt: bool, **environment: str) -> Said:
    return user.download(*(["--decrypt"] if decrypt else []), **environment)


def is_whole(user: User, decrypt: bool) -> bool:
    stored = user.archive.files["GHGAF01"]
    if not decrypt:
        return user.is_whole()
    return (user.out / "GHGAF01.bin").read_bytes() == stored.plaintext


def test_a_flipped_bit_on_the_way_is_healed(user: User, data: bytes, decrypt: bool) -> None:
    user.server.play("get", tampering(user, flipped))
    said = fetch(user, decrypt)
    assert said.code == 0, said.err
    assert is_whole(user, decrypt)
    assert "damaged" in said.err


def test_swapped_segments_on_the_way_are_healed_by_fetching_all_anew(user: User, data: bytes, decrypt: bool) -> None:
    """Each of them is authentic: only the sha256 of the whole can tell, and not which ones they were."""
    user.server.play("get", tampering(user, swapped))
    said = fetch(user, decrypt)
    assert said.code == 0, said.err
    assert is_whole(user, decrypt)
    assert "GHGAF01 is not" in said.err
    assert user.archive.counts["object"] >= 1
    assert len(user.names) == 1


def test_a_disk_that_lost_what_was_written_is_healed(user: User, data: bytes, decrypt: bool) -> None:
    """The journal claims parts that the disk has given back as something else."""
    user.archive.fail("get", 404, times=100, when=lambda request: "bytes=0-" not in request.headers["range"])
    assert fetch(user, decrypt).code == 4
    (part,) = (name for name in user.names if name.endswith(".part"))
    user.archive.heal()
    with (user.out / part).open("r+b") as file:
        file.seek(ENVELOPE + 1000)
        file.write(b"lost")
    said = fetch(user, decrypt)
    assert said.code == 0, said.err
    assert is_whole(user, decrypt)


@pytest.mark.parametrize(
    "tamper",
    [flipped, swapped, lambda content: content[:-CIPHER_SEGMENT_SIZE], lambda content: content[:-7]],
    ids=["flipped bit", "swapped segments", "last segment dropped", "cut short"],
)
def test_damage_at_the_source_gets_no_final_name(user: User, data: bytes, decrypt: bool, tamper: Any) -> None:
    stored = user.archive.files["GHGAF01"]
    stored.claims["size"] = len(stored.content)
    stored.content = bytes(tamper(bytearray(stored.content)))
    said = fetch(user, decrypt, CONNECTOR_RETRIES="1")
    assert said.code in (5, 6), said.err
    assert all(".part" in name for name in user.names), user.names
    assert "Traceback" not in said.err


@pytest.mark.parametrize("honest_size", [True, False])
def test_a_missing_last_segment_that_the_size_does_not_betray(
    user: User, data: bytes, decrypt: bool, honest_size: bool
) -> None:
    stored = user.archive.files["GHGAF01"]
    if not honest_size:
        stored.claims["size"] = len(stored.content) - CIPHER_SEGMENT_SIZE // 2
    stored.content = stored.content[:-CIPHER_SEGMENT_SIZE]
    said = fetch(user, decrypt, CONNECTOR_RETRIES="1")
    assert said.code in (5, 6), said.err
    assert all(".part" in name for name in user.names), user.names


def test_the_damaged_bytes_are_named(user: User, data: bytes, decrypt: bool) -> None:
    stored = user.archive.files["GHGAF01"]
    content = bytearray(stored.content)
    content[3 * CIPHER_SEGMENT_SIZE + 9] ^= 1
    stored.content = bytes(content)
    said = fetch(user, decrypt, CONNECTOR_RETRIES="8")
    assert said.code == 6
    begin = 3 * CIPHER_SEGMENT_SIZE
    assert f"bytes {begin} to {begin + CIPHER_SEGMENT_SIZE}" in said.err
    assert sum(start <= begin < stop for start, stop in user.archive.ranges) == 3, "three times is enough"


def test_an_envelope_for_somebody_else(user: User, data: bytes, decrypt: bool) -> None:
    stored = user.archive.files["GHGAF01"]
    other = seal(stored.plaintext, sender=b"s" * 32, recipient=user.archive.hub.public)
    stored.sealed.content = other.content[:ENVELOPE] + stored.content
    said = fetch(user, decrypt)
    assert said.code == 6
    assert "different key" in said.err
    assert user.names == []


def test_an_envelope_of_another_file(user: User, data: bytes, decrypt: bool) -> None:
    stored = user.archive.files["GHGAF01"]
    other = seal(stored.plaintext, sender=b"s" * 32, recipient=user.archive.user.public)
    stored.sealed.content = other.content[:ENVELOPE] + stored.content
    said = fetch(user, decrypt)
    assert said.code == 6
    assert all(".part" in name for name in user.names)
