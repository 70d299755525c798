"""Names that an archive chose, as names of files, and in one Unicode form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.local.targets import MAX_LENGTH, collision_key, safe_file_name

COMPOSED, DECOMPOSED = "\u00fc", "u\u0308"
TEXTS = st.text() | st.text("aA./\\: \u0308\u00fc-~()*CONcon1\0", max_size=12) | st.text(min_size=150, max_size=400)


@pytest.mark.parametrize(
    ("name", "ending", "expected"),
    [
        ("GHGAF00000000000001", ".bam", "GHGAF00000000000001.bam"),
        ("GHGA.26.123.1.sample 1", ".vcf.gz", "GHGA.26.123.1.sample 1.vcf.gz"),
        ("GHGA.26.123.1.a/b\\c:d", "", "GHGA.26.123.1.a_b_c_d"),
        ("GHGA.26.123.1.(tumor) <x>?", ".bam", "GHGA.26.123.1.(tumor) _x__.bam"),
        (f"GHGA.26.123.1.Pr{DECOMPOSED}fung", ".bam", f"GHGA.26.123.1.Pr{COMPOSED}fung.bam"),
        ("GHGA.26.123.1.\u68c0\u67e5", ".bam", "GHGA.26.123.1.\u68c0\u67e5.bam"),
        ("../../escaped", ".txt", "_._.._escaped.txt"),
        ("..", "", "__"),
        (".bashrc", "", "_bashrc"),
        ("-rf", "", "_rf"),
        ("~root", "", "_root"),
        ("", "", "_"),
        ("a", ". ", "a._"),
        ("CON", ".txt", "_CON.txt"),
        ("com1", "", "_com1"),
        ("lpt\u00b2 ", ".x", "_lpt\u00b2 .x"),
        ("console", ".txt", "console.txt"),
        ("a\u202egpj", ".exe", "a_gpj.exe"),
        ("a\x1b[2J", ".txt\0.png", "a_[2J.txt_.png"),
    ],
)
def test_examples(name: str, ending: str, expected: str) -> None:
    assert safe_file_name(name, ending) == expected


@given(TEXTS, st.sampled_from(["", ".bam", ".vcf.gz", ". ", "/x", "." + "y" * 300]))
def test_any_text_becomes_a_safe_name(name: str, ending: str) -> None:
    safe = safe_file_name(name, ending)
    assert safe.isprintable()
    assert not set(safe) & set('/\\:*?"<>|')
    assert safe[0] not in "-.~ "
    assert safe[-1] not in ". "
    assert 0 < len(safe.encode()) <= MAX_LENGTH
    assert unicodedata.is_normalized("NFC", safe)
    assert safe_file_name(safe) == safe, "a safe name is its own"


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+=@,~ -]{0,60}[A-Za-z0-9]", fullmatch=True))
def test_plain_names_stay(name: str) -> None:
    assert safe_file_name(name) in (name, f"_{name}")


@given(st.text(min_size=1, max_size=300))
def test_long_names_stay_apart_and_keep_their_ending(name: str) -> None:
    long = "x" * 250
    first, second = safe_file_name(long + name, ".bam"), safe_file_name(long + name + "y", ".bam")
    assert first != second
    assert first.endswith(".bam")


@given(TEXTS)
def test_both_forms_are_one_name(name: str) -> None:
    twin = unicodedata.normalize("NFD", name)
    assert collision_key(twin) == collision_key(name)
    assert safe_file_name(twin) == safe_file_name(name)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.BAM", "A.bam"), (f"{COMPOSED}.bam", f"{DECOMPOSED}.bam"), ("\u00dc", DECOMPOSED), ("\u03a3", "\u03c2")],
)
def test_what_collides_where_case_and_form_do_not_count(first: str, second: str) -> None:
    assert collision_key(first) == collision_key(second)
    assert collision_key(first) != collision_key(f"{second}x")
