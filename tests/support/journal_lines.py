"""The lines of journals, as tests write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.local.journal import VERSION, encode_record


def head_line(kind: str, facts: Mapping[str, Any]) -> bytes:
    return encode_record({"journal": VERSION, "kind": kind, **facts})


def part_line(number: int, facts: Mapping[str, Any]) -> bytes:
    """A part that is done."""
    return encode_record({"part": number, **facts})


def written_line(number: int, boot: str) -> bytes:
    """A part that is written, and not synced yet."""
    return encode_record({"written": number, "boot": boot})
