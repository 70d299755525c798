"""Crypt4GH edit lists: which ranges of the plaintext are kept.

Source: Crypt4GH specification, section 4 ("Edit List", function ApplyEditList): lengths that are alternately discarded
and kept, beginning with a discard. After an odd number of them (the last one discards) the rest is kept; after an even
number it is discarded. A list without lengths keeps everything. What reaches beyond the end is "shorter", no error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter

import attrs

from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE, opened_size

_ENDLESS = 2**64
"""Where the last range stops if the rest is kept: beyond all that a length can name."""
_stop = attrgetter("stop")


@attrs.frozen
class KeptRange:
    """A range that is kept: `start` to `stop` of the plaintext, at `target` of the result."""

    start: int
    stop: int
    target: int


def kept_ranges(edit_list: Sequence[int]) -> tuple[KeptRange, ...]:
    """The ranges that an edit list keeps, in order and none of them empty. They may reach beyond the plaintext."""
    if not edit_list:
        return (KeptRange(0, _ENDLESS, 0),)
    ranges: list[KeptRange] = []
    position = target = 0
    for number, length in enumerate([*edit_list, _ENDLESS] if len(edit_list) % 2 else edit_list):
        if number % 2 and length:
            ranges.append(KeptRange(position, position + length, target))
            target += length
        position += length
    return tuple(ranges)


def kept_size(ranges: Sequence[KeptRange], content_size: int) -> int:
    """Bytes of plaintext that `ranges` keep of `content_size` bytes of encrypted segments.

    Raises:
        IntegrityError: For a size that no sequence of segments can have, if the last segment is needed.
    """
    last_is_needed = any(needed_segments(ranges, content_size // CIPHER_SEGMENT_SIZE, 1))
    size = opened_size(content_size, checked=last_is_needed)
    return sum(min(kept.stop, size) - kept.start for kept in ranges if kept.start < size)


def needed_segments(ranges: Sequence[KeptRange], first: int, count: int) -> Iterator[range]:
    """Yield the runs of segments, of the `count` from index `first` on, of which something is kept.

    Others need not be decrypted (specification, section 4.1: "the segment(s) enclosing the requested byte range"), and
    may be encrypted with keys that this reader does not have.
    """
    start, stop = first * SEGMENT_SIZE, (first + count) * SEGMENT_SIZE
    begin = end = first
    for index in range(bisect_right(ranges, start, key=_stop), len(ranges)):
        kept = ranges[index]
        if kept.start >= stop:
            break
        low, high = max(kept.start, start) // SEGMENT_SIZE, -(-min(kept.stop, stop) // SEGMENT_SIZE)
        if low > end:
            if begin < end:
                yield range(begin, end)
            begin = low
        end = max(end, high)
    if begin < end:
        yield range(begin, end)


def map_to_result(
    ranges: Sequence[KeptRange], plaintext: Sequence[memoryview], first_segment: int
) -> Iterator[tuple[int, list[memoryview]]]:
    """Yield offsets of the result, each with the plaintext to write there.

    `plaintext` is that of consecutive segments, the first of which has index `first_segment`.
    """
    start = first_segment * SEGMENT_SIZE
    stop = start + sum(map(len, plaintext))
    for index in range(bisect_right(ranges, start, key=_stop), len(ranges)):
        kept = ranges[index]
        if kept.start >= stop:
            break
        low, high = max(kept.start, start), min(kept.stop, stop)
        yield kept.target + low - kept.start, list(_clip(plaintext, low - start, high - start))


def _clip(plaintext: Sequence[memoryview], low: int, high: int) -> Iterator[memoryview]:
    for view in plaintext:
        piece = view[max(low, 0) : max(high, 0)]
        if piece:
            yield piece
        low, high = low - len(view), high - len(view)
