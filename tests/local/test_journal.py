from __future__ import annotations

import tracemalloc

from connector.crypt4gh.segments import MAX_DOWNLOAD_PARTS
from connector.local.journal import MAX_JOURNAL, encode_head, encode_part, encode_written, read_journal
from connector.parts import S3_MAX_PARTS

BOOT = "0" * 36


def test_the_journal_of_the_largest_file_is_read_to_its_end() -> None:
    download = len(encode_written(MAX_DOWNLOAD_PARTS, {}, BOOT)) + len(encode_part(MAX_DOWNLOAD_PARTS, {}))
    upload = len(encode_part(S3_MAX_PARTS, {"md5": "0" * 32, "sha256": "0" * 64}))
    head = len(encode_head("download", {"path": "x" * 4096}))
    assert head + max(MAX_DOWNLOAD_PARTS * download, S3_MAX_PARTS * upload) < MAX_JOURNAL


def test_what_it_takes_to_remember_the_parts_of_the_largest_download() -> None:
    count = MAX_DOWNLOAD_PARTS // 50
    lines = [encode_written(number, {}, BOOT) + encode_part(number, {}) for number in range(1, count + 1)]
    data = b"".join([encode_head("download", {}), *lines])
    tracemalloc.start()
    try:
        journal = read_journal(data)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert journal is not None
    assert len(journal.parts) == count
    assert size * 50 < 50 * 1024**2


def test_what_is_done_is_not_also_kept_as_written() -> None:
    lines = [encode_head("download", {}), *(encode_written(number, {}, BOOT) for number in (1, 2, 3))]
    journal = read_journal(b"".join([*lines, encode_part(1, {}), encode_part(3, {})]))
    assert journal is not None
    assert set(journal.parts) == {1, 3}
    assert set(journal.written) == set(journal.unsynced(BOOT)) == {2}
    assert journal.unsynced("another") == {}
