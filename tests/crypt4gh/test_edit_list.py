"""Edit lists, against applying them to a plaintext byte by byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.crypt4gh.edit_list import kept_ranges, kept_size, map_to_result, needed_segments
from connector.crypt4gh.segments import SEGMENT_SIZE, sealed_size

LENGTHS = st.one_of(*(st.integers(around - 2, around + 2) for around in (2, SEGMENT_SIZE, 3 * SEGMENT_SIZE // 2)))
EDIT_LISTS = st.lists(LENGTHS, max_size=7)
SIZES = st.integers(1, 6 * SEGMENT_SIZE)


def kept_bytes(edit_list: list[int], size: int) -> list[range]:
    """The function ApplyEditList of the specification, section 4.3, which keeps positions instead of bytes."""
    if not edit_list:
        return [range(size)]
    found, position, discards = [], 0, True
    for length in edit_list:
        if not discards:
            found.append(range(position, min(position + length, size)))
        position, discards = position + length, not discards
    if not discards:
        found.append(range(position, size))
    return [one for one in found if one]


@given(EDIT_LISTS, SIZES)
def test_the_size_of_the_result(edit_list: list[int], size: int) -> None:
    expected = sum(map(len, kept_bytes(edit_list, size)))
    assert kept_size(kept_ranges(edit_list), sealed_size(size)) == expected


@given(EDIT_LISTS, SIZES, st.integers(1, 3))
def test_the_segments_with_something_kept_are_decrypted(edit_list: list[int], size: int, at_once: int) -> None:
    ranges, count = kept_ranges(edit_list), -(-size // SEGMENT_SIZE)
    found: list[int] = []
    for first in range(0, count, at_once):
        runs = list(needed_segments(ranges, first, min(at_once, count - first)))
        assert all(earlier.stop < later.start for earlier, later in pairwise(runs))
        found += [index for run in runs for index in run]
    # How long the last one is does not matter here.
    needed = {
        index
        for kept in kept_bytes(edit_list, count * SEGMENT_SIZE)
        for index in range(kept.start // SEGMENT_SIZE, (kept.stop - 1) // SEGMENT_SIZE + 1)
    }
    assert found == sorted(needed)


@given(EDIT_LISTS, SIZES, st.integers(0, 2))
def test_what_is_kept_lands_at_its_place(edit_list: list[int], size: int, skipped: int) -> None:
    plaintext = bytes(index % 251 for index in range(SEGMENT_SIZE)) * 6
    start = skipped * SEGMENT_SIZE
    segments = [memoryview(plaintext)[at : min(at + SEGMENT_SIZE, size)] for at in range(start, size, SEGMENT_SIZE)]
    expected = b"".join(plaintext[kept.start : kept.stop] for kept in kept_bytes(edit_list, size))
    before = sum(len(range(kept.start, min(kept.stop, start))) for kept in kept_bytes(edit_list, size))
    result = bytearray(expected)
    result[before:] = bytes(len(result) - before)
    for target, pieces in map_to_result(kept_ranges(edit_list), segments, skipped):
        joined = b"".join(pieces)
        result[target : target + len(joined)] = joined
    assert result == expected


@pytest.mark.parametrize(("edit_list", "count"), [([], 1), ([0, 5], 1), ([0, 0, 7, 2, 1], 2)])
def test_no_range_is_empty(edit_list: list[int], count: int) -> None:
    assert len(kept_ranges(edit_list)) == count
