from __future__ import annotations

import tracemalloc

from connector.crypt4gh.segments import MAX_DOWNLOAD_PARTS
from connector.local.journal import MAX_JOURNAL, read_journal
from connector.parts import S3_MAX_PARTS
from tests.support.journal_lines import head_line, part_line, written_line

BOOT = "0" * 36


def test_the_journal_of_the_largest_file_is_read_to_its_end() -> None:
    download = len(written_line(MAX_DOWNLOAD_PARTS, BOOT)) + len(part_line(MAX_DOWNLOAD_PARTS, {}))
    upload = len(part_line(S3_MAX_PARTS, {"md5": "0" * 32, "sha256": "0" * 64}))
    head = len(head_line("download", {"path": "x" * 4096}))
    assert head + max(MAX_DOWNLOAD_PARTS * download, S3_MAX_PARTS * upload) < MAX_JOURNAL


def test_what_it_takes_to_remember_the_parts_of_the_largest_download() -> None:
    count = MAX_DOWNLOAD_PARTS // 50
    lines = [written_line(number, BOOT) + part_line(number, {}) for number in range(1, count + 1)]
    data = b"".join([head_line("download", {}), *lines])
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
    lines = [head_line("download", {}), *(written_line(number, BOOT) for number in (1, 2, 3))]
    journal = read_journal(b"".join([*lines, part_line(1, {}), part_line(3, {})]))
    assert journal is not None
    assert set(journal.parts) == {1, 3}
    assert set(journal.written) == journal.unsynced(BOOT) == {2}
    assert not journal.unsynced("another")
