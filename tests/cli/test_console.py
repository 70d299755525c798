from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.console import Console, neutralised, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.bam", "plain name.bam"),
        ("Übergröße ü.bam", "Übergröße ü.bam"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("a\rb\nc\x00", "a\\x0db\\x0ac\\x00"),
        ("invoice\u202egpj.exe", "invoice\\u202egpj.exe"),
        ("lone \udc80", "lone \\udc80"),
        ("tag \U000e0001", "tag \\U000e0001"),
        ("csi \x9b31m", "csi \\x9b31m"),
    ],
)
def test_what_acts_on_a_terminal_is_shown_instead(text: str, shown: str) -> None:
    assert neutralised(text) == shown


@given(st.text())
def test_nothing_that_acts_on_a_terminal_remains(text: str) -> None:
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in neutralised(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("GET http://s/b/o?X-Amz-Date=1&X-Amz-Signature=beef&uploadId=2", None),
        ("token eyJhbGciOi.eyJpYXQi.c2ln ends", "token [hidden] ends"),
        ("proxy http://ann:s3cret@host:1 refused", "proxy http://[hidden]@host:1 refused"),
        ("package:" + "A" * 90 + "== is wrong", "package:[hidden] is wrong"),
        ("nothing to hide: sha256 " + "a" * 64, None),
    ],
)
def test_secrets_are_recognised_by_their_looks(text: str, shown: str | None) -> None:
    for part in ("beef", "eyJpYXQi", "s3cret", "abc.def", "A" * 90):
        assert part not in redacted(text)
    if shown is not None:
        assert redacted(text) == shown
    if "nothing to hide" in text:
        assert redacted(text) == text


def test_known_secrets_are_hidden_everywhere() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, as_json=True)
    console.hide("open sesame")
    console.complain("wrong: open sesame")
    console.record({"message": "open sesame, please"})
    console.result("open sesame")
    assert "sesame" not in out.getvalue() + err.getvalue()
    assert out.getvalue().startswith('{"message": "[hidden], please"}\n')


def test_quiet_leaves_the_complaints() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err, quiet=True)
    console.tell("going well")
    console.complain("going badly")
    assert err.getvalue() == "going badly\n"


class _GoneReader(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_stops_nothing() -> None:
    console = Console(_GoneReader(), _GoneReader(), as_json=True)
    console.record({"name": "a"})
    console.record({"name": "b"})
    console.complain("c")


def test_json_lines_are_ascii() -> None:
    out = io.StringIO()
    Console(out, io.StringIO(), as_json=True).record({"name": "ü\x1b[2J"})
    assert out.getvalue() == '{"name": "\\u00fc\\u001b[2J"}\n'
