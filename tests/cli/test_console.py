from __future__ import annotations

import io
import json
from pathlib import Path

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
        (
            "headers={'X-Amz-Security-Token': b'beef/x+y', 'Date': 1}",
            "headers={'X-Amz-Security-Token': b'[hidden]', 'Date': 1}",
        ),
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


TOKEN = "package-1:" + "Qk9PS" * 20


def test_tokens_are_hidden_in_every_sentence() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, as_json=True)
    console.hide(TOKEN)
    console.error(f"wrong: {TOKEN}")
    console.record({"error": {"message": f"{TOKEN}, please", "hint": f"not {TOKEN}"}})
    assert TOKEN not in out.getvalue() + err.getvalue()
    assert json.loads(out.getvalue()) == {"error": {"message": "[hidden], please", "hint": "not [hidden]"}}


@pytest.mark.parametrize(
    "word", ["e", "true", "name", "decrypted", "exists already", "Give --overwrite to replace it."]
)
def test_a_word_that_sentences_have_by_chance_leaves_no_gap(word: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, as_json=True)
    console.hide(word)
    console.info("decrypted", label="true name")
    console.error("It exists already. Give --overwrite to replace it.", label="name")
    console.record({"name": "true", "ok": True, "error": {"message": f"{word}."}})
    assert err.getvalue() == "true name: decrypted\nname: It exists already. Give --overwrite to replace it.\n"
    assert json.loads(out.getvalue()) == {"name": "true", "ok": True, "error": {"message": f"{word}."}}


def test_names_paths_and_listings_are_never_altered() -> None:
    """Not even when they look like a secret, or are the secret."""
    name = "eyJhbGciOi.eyJpYXQi.c2ln"
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, as_json=True)
    console.hide("a-passphrase-as-long-as-a-name.bam")
    fields = {"name": name, "path": Path("a-passphrase-as-long-as-a-name.bam"), "sha256": "ab" * 32, "size": 7}
    console.record(fields)
    console.result(f"upload  {name}")
    console.info("uploaded", label="a-passphrase-as-long-as-a-name.bam")
    line, listing = out.getvalue().splitlines()
    assert json.loads(line) == {**fields, "path": "a-passphrase-as-long-as-a-name.bam"}
    assert listing == f"upload  {name}"
    assert err.getvalue() == "a-passphrase-as-long-as-a-name.bam: uploaded\n"


def test_secrets_are_hidden_within_lists_too() -> None:
    out = io.StringIO()
    console = Console(out, io.StringIO(), as_json=True)
    token = "Ab0-" * 20
    console.hide(token)
    console.record({"ok": False, "hint": [f"Not {token}.", (f"nor {token}.", 5)]})
    assert token not in out.getvalue()
    assert json.loads(out.getvalue())["hint"][1][1] == 5


def test_quiet_leaves_the_complaints() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err, quiet=True)
    console.info("going well")
    console.error("going badly")
    assert err.getvalue() == "going badly\n"


class _GoneReader(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_output_that_is_lost_is_said_once_and_is_no_success() -> None:
    err = io.StringIO()
    console = Console(_GoneReader(), err, as_json=True)
    assert console.exit_code(0) == 0
    console.record({"name": "a"})
    console.record({"name": "b"})
    assert err.getvalue().count("Broken pipe") == 1
    assert console.exit_code(0) == 3
    assert console.exit_code(4) == 4


@pytest.mark.parametrize("err", [None, _GoneReader()])
def test_sentences_that_nobody_hears_cost_nothing(err: io.StringIO | None) -> None:
    console = Console(io.StringIO(), err)
    console.error("c")
    assert console.exit_code(0) == 0


def test_json_lines_are_ascii() -> None:
    out = io.StringIO()
    Console(out, io.StringIO(), as_json=True).record({"name": "ü\x1b[2J"})
    assert out.getvalue() == '{"name": "\\u00fc\\u001b[2J"}\n'
