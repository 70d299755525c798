from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.sources import Row, aliases_of, parse_tsv
from connector.errors import UsageError


def test_paths_and_aliases_around_comments_and_blank_lines() -> None:
    content = b"# files of June\n\na b.bam\tSAMPLE_1\r\n  # more\n  \n/data/\xc3\xbc.bam \t SAMPLE_2"
    assert parse_tsv(content, "list.tsv") == [Row("a b.bam", "SAMPLE_1", 3), Row("/data/ü.bam", "SAMPLE_2", 6)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_a_list(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list").write_bytes("a\tÄ\r\n".encode(encoding))
    assert aliases_of(tmp_path / "list") == ["Ä"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\tA\nb\n", "list.tsv, line 2: there is no alias."),
        (b"a\tA\n\tB\n", "list.tsv, line 2: the path is empty."),
        (b"#\n\na\t\n", "list.tsv, line 3: the alias is empty."),
        (b"a\tA\tx\n", "list.tsv, line 1: there are 3 columns instead of 2."),
        (b"a\tA\nb\tA\n", "list.tsv, line 2: the alias 'A' is in line 1 already."),
        (b"a\tA\n\na\tB\n", "list.tsv, line 3: the path 'a' is in line 1 already."),
        (b"a\tA\n\xff\tB\n", "list.tsv, line 2: not UTF-8 text."),
        (b"a\0\tA\n", "list.tsv, line 1: a path cannot hold a NUL"),
        (b"# nothing\n", "list.tsv: no files in this list."),
        (b"", "list.tsv: no files in this list."),
    ],
)
def test_errors_name_the_line(content: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tsv(content, "list.tsv")
    assert str(caught.value).startswith(says)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_a_usage_error(content: bytes) -> None:
    try:
        rows = parse_tsv(content, "list.tsv")
    except UsageError:
        return
    assert len({row.alias for row in rows}) == len({row.path for row in rows}) == len(rows) > 0
