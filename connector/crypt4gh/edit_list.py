"""Crypt4GH edit lists: which ranges of the plaintext are kept.

Source: Crypt4GH specification, section 4.2.1.2: lengths that are alternately discarded and kept, beginning with a
discard. After an odd number of them (the last one discards) the rest is kept; after an even number it is discarded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from connector.crypt4gh.layout import SEGMENT_SIZE
from connector.errors import IntegrityError


@attrs.frozen
class KeptRange:
    """A range that is kept: `start` to `stop` of the plaintext, written at `target` of the result."""

    start: int
    stop: int
    target: int


def kept_ranges(edit_list: Sequence[int] | None, plain_size: int) -> tuple[KeptRange, ...]:
    """The ranges of a plaintext of `plain_size` bytes that an edit list keeps, in order.

    Raises:
        IntegrityError: If the list reaches beyond the plaintext.
    """
    if edit_list is None:
        return (KeptRange(0, plain_size, 0),)
    ranges: list[KeptRange] = []
    position = target = 0
    for number, length in enumerate(edit_list):
        keeps = number % 2 == 1
        if position + length > plain_size:
            raise IntegrityError(
                "The edit list of the header reaches beyond the end of the file.",
                hint="The file is truncated or its header is wrong; fetch it again.",
            )
        if keeps and length:
            ranges.append(KeptRange(position, position + length, target))
            target += length
        position += length
    if len(edit_list) % 2 == 1 and position < plain_size:
        ranges.append(KeptRange(position, plain_size, target))
    return tuple(ranges)


def map_to_result(
    ranges: Sequence[KeptRange], plaintext: Sequence[memoryview], first_segment: int
) -> Iterator[tuple[int, list[memoryview]]]:
    """Yield offsets of the result, each with the plaintext to write there.

    `plaintext` is that of consecutive segments, the first of which has index `first_segment`.
    """
    start = first_segment * SEGMENT_SIZE
    stop = start + sum(map(len, plaintext))
    for kept in ranges:
        low, high = max(kept.start, start), min(kept.stop, stop)
        if low < high:
            yield kept.target + low - kept.start, list(_clip(plaintext, low - start, high - start))


def _clip(plaintext: Sequence[memoryview], low: int, high: int) -> Iterator[memoryview]:
    for view in plaintext:
        piece = view[max(low, 0) : max(high, 0)]
        if piece:
            yield piece
        low, high = low - len(view), high - len(view)
