from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from connector.cli.console import Console
from connector.cli.secrets import ProcessInput, Secrets
from connector.config import Settings
from connector.errors import ConnectorError, LocalError, UsageError
from tests.support.desk import Desk, ScriptedInput

TOKEN = "package:" + "Ab0/" * 10


def make(
    desk: Desk,
    *,
    token_file: Path | None = None,
    passphrase_file: Path | None = None,
    console: Console | None = None,
) -> Secrets:
    settings = Settings(token_file=token_file, passphrase_file=passphrase_file)
    around = desk.around
    return Secrets(
        settings,
        console or Console(desk.out, desk.err),
        environment=around.environment,
        stdin=around.stdin,
        ask=around.ask,
        can_ask=around.has_terminal,
    )


def piped(*lines: str) -> ScriptedInput:
    return ScriptedInput("pipe", lines)


def test_the_token_file_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbf" + TOKEN.encode() + b"\r\n")
    desk = Desk(environment={"CONNECTOR_ACCESS_TOKEN": "other:x"}, stdin=piped("third:x"))
    assert make(desk, token_file=file).access_token() == TOKEN


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("words\r\n", encoding="utf-16")
    assert make(Desk(), passphrase_file=file).passphrase() == "words"
    assert make(Desk(stdin=piped("\ufeffwords")), passphrase_file=Path("-")).passphrase() == "words"


def test_then_the_environment() -> None:
    stdin = piped("third:x")
    desk = Desk(environment={"CONNECTOR_ACCESS_TOKEN": f" {TOKEN}\n"}, stdin=stdin)
    assert make(desk).access_token() == TOKEN
    assert stdin.lines == ["third:x"]


def test_then_what_is_piped_in() -> None:
    assert make(Desk(stdin=piped(TOKEN))).access_token() == TOKEN


def test_at_last_a_person_is_asked() -> None:
    desk = Desk(stdin=ScriptedInput("terminal"), answers=[TOKEN])
    assert make(desk).access_token() == TOKEN
    assert len(desk.prompts) == 1


@pytest.mark.parametrize("stdin", [ScriptedInput(), ScriptedInput("pipe"), ScriptedInput("terminal")])
def test_without_a_token_there_is_one_clear_sentence(stdin: ScriptedInput) -> None:
    with pytest.raises(UsageError, match=r"(No access token|Standard input ended)"):
        make(Desk(stdin=stdin)).access_token()


def test_nobody_is_asked_where_nobody_sits() -> None:
    desk = Desk(stdin=ScriptedInput("nothing"), answers=["secret"])
    with pytest.raises(UsageError, match=r"CONNECTOR_PASSPHRASE"):
        make(desk).passphrase()
    assert desk.prompts == []


def test_a_dash_names_standard_input() -> None:
    secrets = make(Desk(stdin=piped(TOKEN, "open sesame")), token_file=Path("-"), passphrase_file=Path("-"))
    assert secrets.access_token() == TOKEN
    assert secrets.passphrase() == "open sesame"


def test_a_passphrase_keeps_its_spaces(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("  two words \n")
    assert make(Desk(), passphrase_file=file).passphrase() == "  two words "


def test_the_passphrase_is_not_taken_from_the_pipe_of_the_token() -> None:
    stdin = piped("package:x")
    with pytest.raises(UsageError, match="no passphrase"):
        make(Desk(stdin=stdin)).passphrase()
    assert stdin.lines


@pytest.mark.parametrize(("answers", "good"), [(["a b c d", "a b c d"], True), (["one", "other"], False), ([], False)])
def test_a_new_passphrase_is_typed_twice(answers: Sequence[str], good: bool) -> None:
    desk = Desk(stdin=ScriptedInput("terminal"), answers=answers)
    if good:
        assert make(desk).passphrase(new=True) == answers[0]
    else:
        with pytest.raises(UsageError):
            make(desk).passphrase(new=True)


def test_files_that_hold_nothing_or_are_not_there(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    families: list[tuple[Path, type[ConnectorError]]] = [
        (empty, UsageError),
        (binary, UsageError),
        (tmp_path / "none", LocalError),
        (tmp_path, LocalError),
    ]
    for file, family in families:
        with pytest.raises(family, match=str(file)):
            make(Desk(), token_file=file).access_token()


def test_what_was_found_is_hidden_from_then_on() -> None:
    desk = Desk(environment={"CONNECTOR_ACCESS_TOKEN": TOKEN, "CONNECTOR_PASSPHRASE": "open-sesame-said-ali-baba"})
    console = Console(desk.out, desk.err)
    secrets = make(desk, console=console)
    secrets.access_token()
    secrets.passphrase()
    console.error(f"{TOKEN} {TOKEN.partition(':')[2]} open-sesame-said-ali-baba")
    assert desk.said == "[hidden] [hidden] [hidden]\n"


def test_a_real_pipe_is_read_line_by_line() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\r\ntwo\nthr")
    os.close(writer)
    stdin = ProcessInput(reader)
    assert stdin.kind() == "pipe"
    assert [stdin.line(1), stdin.line(1), stdin.line(1), stdin.line(1)] == ["one", "two", "thr", None]
    os.close(reader)


def test_a_line_on_windows_where_pipes_cannot_be_waited_for() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\r\ntwo\n")
    os.close(writer)
    stdin = ProcessInput(reader, clock=lambda: 0.0, platform="win32")
    assert [stdin.line(0), stdin.line(0), stdin.line(0)] == ["one", "two", None]
    os.close(reader)


def test_a_pipe_that_says_nothing_does_not_hang_us() -> None:
    reader, writer = os.pipe()
    began = time.monotonic()
    assert ProcessInput(reader).line(0.1) is None
    assert time.monotonic() - began < 60
    os.close(writer)
    os.close(reader)


def test_the_null_device_and_a_closed_descriptor_are_nothing() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    assert ProcessInput(descriptor).kind() == "nothing"
    os.close(descriptor)
    assert ProcessInput(descriptor).kind() == "nothing"


def test_a_terminal_is_one() -> None:
    leader, follower = os.openpty()
    assert ProcessInput(follower).kind() == "terminal"
    os.close(leader)
    os.close(follower)
