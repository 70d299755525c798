"""The records of a journal: what a transfer has finished, in lines that can be trusted one by one.

A journal is text, one record a line: 16 hex digits of BLAKE2b over the rest of the line, a space, JSON. The first
says what transfer this is, each further one that a part is done. A line that was cut short by a crash, or damaged, ends
what is believed: the records before it stand, everything behind it is done again.

A part may also be noted as *written*: handed to the operating system, not yet brought to the disk. That outlives the
process, but not the machine, so such a record names the boot of the machine and is believed under the same one only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

VERSION = 1
_DIGEST_SIZE = 8


@attrs.frozen
class Journal:
    """The believable content of a journal: the ``head`` record, a record for each finished part, the bytes of the file
    up to which all this was read (what lies behind is cut off before anything is added), and a record for each part
    that was written and is not done yet."""

    head: Mapping[str, Any]
    parts: Mapping[int, Mapping[str, Any]]
    length: int
    written: Mapping[int, Mapping[str, Any]] = attrs.field(factory=dict)

    def unsynced(self, boot: str | None) -> dict[int, Mapping[str, Any]]:
        """The parts that are there as long as the machine has not gone down since; ``boot``: its present boot."""
        return {
            number: record
            for number, record in self.written.items()
            if number not in self.parts and boot is not None and record.get("boot") == boot
        }


def encode_record(record: Mapping[str, Any]) -> bytes:
    """One line of a journal."""
    body = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return _digest(body) + b" " + body + b"\n"


def encode_head(kind: str, facts: Mapping[str, Any]) -> bytes:
    """The first line of a journal of ``kind`` (``download``, ``upload``) about a transfer known by ``facts``."""
    return encode_record({"journal": VERSION, "kind": kind, **facts})


def encode_part(number: int, facts: Mapping[str, Any]) -> bytes:
    """The line that says part ``number`` is done."""
    return encode_record({"part": number, **facts})


def encode_written(number: int, facts: Mapping[str, Any], boot: str) -> bytes:
    """The line that says part ``number`` was written, and under which boot of the machine."""
    return encode_record({"written": number, "boot": boot, **facts})


def read_journal(data: bytes) -> Journal | None:
    """Read a journal as far as it can be believed; ``None`` if not even its head can. Never raises."""
    head: Mapping[str, Any] | None = None
    parts: dict[int, Mapping[str, Any]] = {}
    written: dict[int, Mapping[str, Any]] = {}
    length = 0
    for line in data.split(b"\n")[:-1]:
        record = decode_record(line)
        if record is None:
            break
        if head is None:
            if record.get("journal") != VERSION:
                return None
            head = record
        else:
            number = record.get("part", record.get("written"))
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                break
            (parts if "part" in record else written)[number] = record
            if "part" in record:
                written.pop(number, None)  # of large files there are many
        length += len(line) + 1
    return None if head is None else Journal(head, parts, length, written)


def decode_record(line: bytes) -> dict[str, Any] | None:
    """The record of one line, without its line break; ``None`` if the line was cut short or damaged. Never raises."""
    digest, _, body = line.partition(b" ")
    if digest != _digest(body):
        return None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).hexdigest().encode()
