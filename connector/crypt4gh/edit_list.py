"""Crypt4GH edit lists: which bytes of the plaintext count.

Source: Crypt4GH specification, section 4.2.1.2: lengths that are in turn discarded and kept, beginning with a discard.
After an odd number of them (the last one discards) all that follows is kept; after an even number nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from connector.crypt4gh.layout import SEGMENT_SIZE
from connector.errors import IntegrityError


@attrs.frozen
class Kept:
    """A run of plaintext that counts: `start` to `stop` of the plaintext, found at `target` of the result."""

    start: int
    stop: int
    target: int


def kept_runs(edit_list: Sequence[int] | None, plain_size: int) -> tuple[Kept, ...]:
    """The runs of a plaintext of `plain_size` bytes that an edit list keeps, in order.

    Raises:
        IntegrityError: If the list reaches beyond the plaintext.
    """
    if edit_list is None:
        return (Kept(0, plain_size, 0),)
    runs: list[Kept] = []
    position = target = 0
    for number, length in enumerate(edit_list):
        keeps = number % 2 == 1
        if position + length > plain_size:
            raise IntegrityError(
                "The edit list of the envelope reaches beyond the end of the file.",
                hint="The file is truncated or its envelope is wrong; fetch it again.",
            )
        if keeps and length:
            runs.append(Kept(position, position + length, target))
            target += length
        position += length
    if len(edit_list) % 2 == 1 and position < plain_size:
        runs.append(Kept(position, plain_size, target))
    return tuple(runs)


def place(
    runs: Sequence[Kept], plaintext: Sequence[memoryview], first_segment: int
) -> Iterator[tuple[int, list[memoryview]]]:
    """Say where the plaintext of opened segments, the first of index `first_segment`, goes in the result.

    Yields an offset of the result with what to write there.
    """
    start = first_segment * SEGMENT_SIZE
    stop = start + sum(map(len, plaintext))
    for run in runs:
        low, high = max(run.start, start), min(run.stop, stop)
        if low < high:
            yield run.target + low - run.start, list(_clip(plaintext, low - start, high - start))


def _clip(plaintext: Sequence[memoryview], low: int, high: int) -> Iterator[memoryview]:
    for view in plaintext:
        piece = view[max(low, 0) : max(high, 0)]
        if piece:
            yield piece
        low, high = low - len(view), high - len(view)
