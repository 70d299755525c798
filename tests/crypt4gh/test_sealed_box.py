from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey, SealedBox

from connector.crypt4gh.keys import open_text, seal_text
from connector.errors import RefusedError

READER, STRANGER = PrivateKey(b"r" * 32), PrivateKey(b"s" * 32)


@settings(max_examples=30)
@given(st.text())
def test_what_was_sealed_opens_again(text: str) -> None:
    assert open_text(seal_text(text, bytes(READER.public_key)), bytes(READER)) == text


def test_it_is_the_sealed_box_of_libsodium_in_base64() -> None:
    ours = seal_text("token", bytes(READER.public_key))
    assert SealedBox(READER).decrypt(base64.b64decode(ours)) == b"token"
    theirs = base64.b64encode(SealedBox(READER.public_key).encrypt(b"token")).decode()
    assert open_text(theirs, bytes(READER)) == "token"


def test_a_box_for_another_key_is_refused_with_what_to_do() -> None:
    with pytest.raises(RefusedError, match="private key") as caught:
        open_text(seal_text("token", bytes(READER.public_key)), bytes(STRANGER))
    assert caught.value.hint


def test_a_box_around_something_that_is_no_text_is_refused() -> None:
    sealed = base64.b64encode(SealedBox(READER.public_key).encrypt(b"\xff\xfe")).decode()
    with pytest.raises(RefusedError):
        open_text(sealed, bytes(READER))


SEALED = seal_text("token", bytes(READER.public_key))


@given(st.text(max_size=100) | st.binary(max_size=80).map(lambda b: base64.b64encode(b).decode()))
def test_whatever_comes_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        open_text(text, bytes(READER))


@given(st.integers(0, len(SEALED) - 1), st.characters())
def test_a_changed_character_is_noticed(position: int, other: str) -> None:
    changed = SEALED[:position] + other + SEALED[position + 1 :]
    try:
        assert open_text(changed, bytes(READER)) == "token"
        # Base64 has slack bits in its last character before the padding: the bytes are then the same.
        assert base64.b64decode(changed) == base64.b64decode(SEALED)
    except RefusedError:
        assert changed != SEALED
