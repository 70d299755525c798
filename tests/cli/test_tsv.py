from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.tsv import parse_tsv, read_tsv
from connector.errors import UsageError


def test_paths_and_aliases_around_comments_and_blank_lines() -> None:
    content = b"# files of June\n\na b.bam\tSAMPLE_1\r\n  # more\n  \n/data/\xc3\xbc.bam \t SAMPLE_2"
    assert parse_tsv(content, "list.tsv") == [("a b.bam", "SAMPLE_1"), ("/data/ü.bam", "SAMPLE_2")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_a_list(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list").write_bytes("a\tÄ\r\n".encode(encoding))
    assert read_tsv(tmp_path / "list") == [("a", "Ä")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\tA\nb\n", "line 2: .*no alias"),
        (b"a\tA\n\tB\n", "line 2: .*path .*empty"),
        (b"#\n\na\t\n", "line 3: .*alias .*empty"),
        (b"a\tA\tx\n", "line 1: .*3 columns"),
        (b"a\tA\nb\tA\n", "line 2: .*'A' .*line 1"),
        (b"a\tA\n\na\tB\n", "line 3: .*'a' .*line 1"),
        (b"a\tA\n\xff\tB\n", "line 2: .*UTF-8"),
        (b"a\0\tA\n", "line 1: .*NUL"),
        (b"# nothing\n", "no files"),
        (b"", "no files"),
    ],
)
def test_errors_name_the_line(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=rf"^list\.tsv.*{says}"):
        parse_tsv(content, "list.tsv")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_a_usage_error(content: bytes) -> None:
    try:
        rows = parse_tsv(content, "list.tsv")
    except UsageError:
        return
    assert len({alias for _, alias in rows}) == len({path for path, _ in rows}) == len(rows) > 0
