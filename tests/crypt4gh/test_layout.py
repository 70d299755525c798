from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    HEADER_SIZE,
    MAX_DOWNLOAD_PARTS,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    align_to_segments,
    fit_download_part_size,
    fit_upload_part_size,
    opened_size,
    sealed_size,
    segment_range,
)
from connector.errors import IntegrityError, UsageError
from connector.parts import (
    S3_MAX_OBJECT_SIZE,
    S3_MAX_PART_SIZE,
    S3_MAX_PARTS,
    S3_MIN_PART_SIZE,
    Part,
    Parts,
    memory_budget,
    split,
)

PETABYTE = 10**15
sizes = st.integers(0, PETABYTE) | st.integers(0, 5 * SEGMENT_SIZE)
LARGEST_PLAIN = opened_size(S3_MAX_OBJECT_SIZE - HEADER_SIZE)
near_the_largest = st.integers(LARGEST_PLAIN - 3 * SEGMENT_SIZE, LARGEST_PLAIN + 3 * SEGMENT_SIZE)


@pytest.mark.parametrize(
    ("plain", "sealed"),
    [
        (0, 0),
        (1, 29),
        (65_535, 65_563),
        (65_536, 65_564),
        (65_537, 65_564 + 29),
        (131_072, 131_128),
        (2**40, 2**40 + 2**24 * 28),
    ],
)
def test_sealed_sizes_of_the_specification(plain: int, sealed: int) -> None:
    assert sealed_size(plain) == sealed
    assert opened_size(sealed) == plain


@given(sizes)
def test_opened_size_is_the_inverse_of_sealed_size(plain: int) -> None:
    assert opened_size(sealed_size(plain)) == plain


@given(sizes)
def test_a_size_opens_only_if_sealing_can_give_it(sealed: int) -> None:
    try:
        plain = opened_size(sealed)
    except IntegrityError:
        assert 0 < sealed % CIPHER_SEGMENT_SIZE <= SEGMENT_OVERHEAD
    else:
        assert sealed_size(plain) == sealed


@pytest.mark.parametrize("size", [-1, 1, 28, CIPHER_SEGMENT_SIZE + 1, 3 * CIPHER_SEGMENT_SIZE + 28])
def test_sizes_that_no_segments_have_are_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=str(size)):
        opened_size(size)


@given(st.integers(0, 3_000), st.integers(1, 700))
def test_parts_cover_every_byte_once_and_in_order(total: int, part_size: int) -> None:
    parts = Parts(total, part_size)
    position = 0
    for number, part in enumerate(parts, start=1):
        assert (part.number, part.start) == (number, position)
        assert 0 < part.size <= part_size
        assert part.size == part_size or part.stop == total
        position = part.stop
    assert position == total
    assert len(parts) == sum(1 for _ in parts)


@given(st.integers(1, PETABYTE), st.integers(1, 10**12), st.data())
def test_a_part_is_found_by_its_index_without_making_the_others(
    total: int, part_size: int, data: st.DataObject
) -> None:
    parts = Parts(total, part_size)
    index = data.draw(st.integers(0, len(parts) - 1))
    assert parts[index] == Part(index + 1, index * part_size, min((index + 1) * part_size, total))
    assert parts[index - len(parts)] == parts[index]
    with pytest.raises(IndexError):
        parts[len(parts)]
    with pytest.raises(IndexError):
        parts[-len(parts) - 1]


def test_parts_are_a_sequence() -> None:
    parts = Parts(10, 4)
    assert parts[1:] == [Part(2, 4, 8), Part(3, 8, 10)]
    assert parts[::-1] == list(reversed(parts))
    assert Part(3, 8, 10) in parts
    assert Part(3, 8, 12) not in parts


plain_sizes = st.integers(1, 2 * S3_MAX_OBJECT_SIZE) | st.integers(1, 10 * S3_MIN_PART_SIZE) | near_the_largest


@given(plain_sizes, st.integers(0, 2 * S3_MAX_PART_SIZE), st.integers(1, S3_MAX_OBJECT_SIZE))
@settings(max_examples=500)
def test_every_file_keeps_every_limit_of_s3_and_has_memory_or_is_refused(size: int, wanted: int, memory: int) -> None:
    total = HEADER_SIZE + sealed_size(size)
    if total > S3_MAX_OBJECT_SIZE:
        with pytest.raises(UsageError, match="5 TiB"):
            fit_upload_part_size(total, wanted)
        return
    part_size = fit_upload_part_size(total, wanted)
    parts = Parts(total, part_size)
    assert S3_MIN_PART_SIZE <= part_size <= S3_MAX_PART_SIZE
    assert part_size % CIPHER_SEGMENT_SIZE == 0
    assert len(parts) <= S3_MAX_PARTS
    assert parts[-1].stop == total
    assert memory_budget(memory, parts[0].size) == max(memory, min(total, part_size))


@given(st.integers(1, S3_MAX_OBJECT_SIZE), st.integers(S3_MIN_PART_SIZE + CIPHER_SEGMENT_SIZE, S3_MAX_PART_SIZE))
def test_an_upload_part_size_is_as_near_below_the_wish_as_segments_allow(total: int, wanted: int) -> None:
    part_size = fit_upload_part_size(total, wanted)
    if part_size > wanted:  # only because there would be too many parts
        assert len(Parts(total, part_size - CIPHER_SEGMENT_SIZE)) > S3_MAX_PARTS
    else:
        assert wanted - part_size < CIPHER_SEGMENT_SIZE


def test_the_largest_upload_fits_and_one_byte_more_does_not() -> None:
    assert fit_upload_part_size(S3_MAX_OBJECT_SIZE, S3_MIN_PART_SIZE) == 8386 * CIPHER_SEGMENT_SIZE
    with pytest.raises(UsageError, match=f"{S3_MAX_OBJECT_SIZE + 1:,}"):
        fit_upload_part_size(S3_MAX_OBJECT_SIZE + 1, S3_MIN_PART_SIZE)


@given(st.integers(1, 2 * S3_MAX_OBJECT_SIZE), st.integers(CIPHER_SEGMENT_SIZE, S3_MAX_PART_SIZE))
def test_a_download_has_parts_of_the_size_asked_for_but_not_too_many(total: int, wanted: int) -> None:
    part_size = fit_download_part_size(total, wanted)
    assert part_size % CIPHER_SEGMENT_SIZE == 0
    assert part_size <= S3_MAX_PART_SIZE
    assert len(Parts(total, part_size)) <= MAX_DOWNLOAD_PARTS
    assert part_size == align_to_segments(wanted) or len(Parts(total, align_to_segments(wanted))) > MAX_DOWNLOAD_PARTS


@given(st.integers(-5, 10**10))
def test_alignment_is_to_at_least_one_whole_segment(wanted: int) -> None:
    aligned = align_to_segments(wanted)
    assert aligned % CIPHER_SEGMENT_SIZE == 0
    assert aligned >= CIPHER_SEGMENT_SIZE
    assert aligned <= wanted or aligned == CIPHER_SEGMENT_SIZE


@given(st.integers(0, 500), st.integers(1, 10**6), st.integers(20_000, 200_000))
def test_a_part_touches_exactly_the_segments_that_share_a_byte_with_it(offset: int, total: int, part_size: int) -> None:
    for part in Parts(offset + total, part_size):
        touched = [
            index
            for index in range(-(-total // CIPHER_SEGMENT_SIZE) + 1)
            if offset + index * CIPHER_SEGMENT_SIZE < part.stop
            and offset + (index + 1) * CIPHER_SEGMENT_SIZE > part.start
        ]
        assert list(segment_range(part, offset=offset)) == touched


@given(
    st.integers(0, 10 * CIPHER_SEGMENT_SIZE),
    st.integers(1, 5 * CIPHER_SEGMENT_SIZE),
    st.integers(1, 3),
    st.integers(0, 2 * CIPHER_SEGMENT_SIZE),
)
def test_pieces_are_the_part_cut_at_borders_of_segments(start: int, size: int, segments: int, offset: int) -> None:
    part = Part(7, start, start + size)
    pieces = list(split(part, segments * CIPHER_SEGMENT_SIZE, offset=offset))
    assert [piece.start for piece in pieces] == [part.start, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == part.stop
    assert {piece.number for piece in pieces} == {7}
    for piece in pieces[1:]:
        assert (piece.start - offset) % (segments * CIPHER_SEGMENT_SIZE) == 0
    assert all(0 < piece.size <= segments * CIPHER_SEGMENT_SIZE for piece in pieces)
