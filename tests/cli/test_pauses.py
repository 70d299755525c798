from __future__ import annotations

import pytest

from connector.cli.meter import Pauses, cause_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Part 3 of a.bin was damaged.", "a.bin"), ("Part 17 of b.bin was damaged.", "b.bin")),
        (("Connection to http://127.0.0.1:41001 broke.", ""), ("Connection to http://127.0.0.1:9 broke.", "x")),
        (("Object 0f8fad5b-d9cb-469f-a165-70867728950e is locked.", ""), ("Object 7c9e6679ab is locked.", "")),
        (("Segment 3 (bytes 196692 to 262256) is damaged.", ""), ("Segment 4 (bytes 0 to 1) is damaged.", "")),
    ],
)
def test_one_cause_has_one_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert cause_of(*one) == cause_of(*other)


def test_other_causes_have_other_names() -> None:
    assert cause_of("The archive answered.") != cause_of("The storage answered.")
    assert cause_of("https://a.example is down.") != cause_of("https://b.example is down.")


def outage(pauses: Pauses, second: int) -> None:
    for part in range(16):
        pauses.add(f"f{part % 4}.bin", f"Part {part} got 503.", "Trying again in 2.0 s.", 2.0, float(second))


def test_in_a_log_an_outage_of_ten_minutes_is_a_line_a_minute() -> None:
    pauses, said = Pauses(), []
    for second in range(600):
        outage(pauses, second)
        said += [(second, *line) for line in pauses.due_lines(float(second), again=True)]
    assert [second for second, *_ in said] == list(range(1, 600, 60))
    assert said[0][1:] == ("f0.bin and 3 more", "Part 15 got 503. Trying again in 2.0 s.")
    assert said[1][2] == "Part 15 got 503. Trying again in 2.0 s. (960 times in the last minute.)"


def test_on_a_terminal_an_outage_is_said_once_and_the_next_one_again() -> None:
    pauses, said = Pauses(), []
    for second in [*range(300), *range(400, 500)]:
        outage(pauses, second)
        said += [second for _ in pauses.due_lines(float(second), again=False)]
    assert said == [1, 401]


def test_the_seconds_to_the_next_try_count_down() -> None:
    pauses = Pauses()
    pauses.add("a", "Busy.", "", 12.0, 100.0)
    pauses.add("b", "Busy.", "", 30.0, 100.5)
    (pause,) = pauses.current(100.5)
    assert [pause.seconds(now) for now in (100.5, 101.0, 110.0, 111.8)] == [12, 11, 2, 1]
    assert pause.seconds(112.5) == 18  # the other one's
    assert pause.seconds(130.7) == 0
    assert pause.seconds(140.0) is None
    assert pauses.current(140.0) == []


def test_what_is_said_is_not_lost_when_it_is_over_before_it_was() -> None:
    pauses = Pauses()
    pauses.add("a", "Cut.", "Trying again in 0.0 s.", 0.0, 0.0)
    pauses.add("b", "Other.", "", 0.0, 200.0)
    assert pauses.due_lines(201.0, again=False)[0] == ("a", "Cut. Trying again in 0.0 s.")


def test_what_is_not_due_can_be_had_at_once() -> None:
    pauses = Pauses()
    pauses.add("a", "Cut.", "Trying again in 0.0 s.", 0.0, 0.0)
    assert pauses.due_lines(0.1, again=False) == []
    assert pauses.due_lines(0.1, again=False, at_once=True) == [("a", "Cut. Trying again in 0.0 s.")]
    assert pauses.due_lines(9.0, again=False, at_once=True) == []


def test_a_wait_is_no_failure() -> None:
    pauses = Pauses()
    pauses.add("F1", "The archive is staging the file.", "", 5.0, 0.0, waits=True)
    assert pauses.due_lines(0.4, again=True) == []
    assert pauses.due_lines(0.5, again=True) == [("F1", "waiting. The archive is staging the file.")]
