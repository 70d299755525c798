"""The layout of the progress display: the state of a command in lines that fit. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from connector.cli.console import amount, span
from connector.cli.meter import FileState, State

NAMES = 4
"""Files that are shown by their names."""
_PAUSES = 2
_LINES_OF_PAUSE = 3


def columns(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me", "Cf"} or "\u1160" <= letter <= "\u11ff":
        return 0  # stands on the letter before it; the latter are vowels and ends of Korean syllables
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Return as much of the text as fits into `width` columns, with dots where something is missing."""
    if columns(text) <= width:
        return text
    return _head(text, max(0, width - 3)) + "..."[: max(0, width)]


def shortened(name: str, width: int) -> str:
    """Return a name with its middle left out if it is too wide: both its beginning and its ending tell files apart."""
    if columns(name) <= width or width < 8:
        return cut(name, width)
    tail = _head(name[::-1], (width - 3) // 2)[::-1]
    # A mark that stands on the letter before it would stand on the dots.
    while tail and not _columns(tail[0]):
        tail = tail[1:]
    return _head(name, width - 3 - columns(tail)) + "..." + tail


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """Return the text in at most so many lines, broken between words where that is possible."""
    found: list[str] = []
    words = text.split(" ")
    while words and len(found) < lines - 1:
        line = words.pop(0)
        if columns(line) > width:
            head = _head(line, width)
            words.insert(0, line[len(head) :])
            line = head
        while words and columns(line) + 1 + columns(words[0]) <= width:
            line += " " + words.pop(0)
        found.append(line)
    return [*found, cut(" ".join(words), width)] if words else found


def _head(text: str, width: int) -> str:
    used = 0
    for position, letter in enumerate(text):
        used += _columns(letter)
        if used > width:
            return text[:position]
    return text


def summary(state: State) -> list[str]:
    """Return the state of all files in pieces that belong together, the most important ones first.

    Of files of which no bytes are moved, as while the archive checks them, that is how many are done; of none, nothing.
    """
    if not state.total:
        return []
    pieces = [f"{state.failed} FAILED"] if state.failed else []
    pieces.append(f"{state.done} of {state.total} files")
    if not state.moves:
        return pieces
    if state.unknown and not state.expected:
        pieces.append(f"{amount(state.through)} of an unknown size")
    else:
        least = "at least " if state.unknown else ""
        share = f" ({100 * state.through // state.expected} %)" if not state.unknown else ""
        pieces.append(f"{amount(state.through)} of {least}{amount(state.expected)}{share}")
    if state.silence is not None:
        return [*pieces, f"nothing for {span(state.silence)}"]
    pieces.append(f"{state.rate / 1e6:.1f} MB/s")
    if state.rate > 0 and state.remaining > 0:
        least = "at least " if state.unknown else ""
        pieces.append(f"{least}{span(state.remaining / state.rate)} left")
    return pieces


def one_line(state: State) -> str:
    """Return the state of all files in one line."""
    return ", ".join(summary(state))


def pause_line(text: str, seconds: int, *, files: int = 1, waits: bool = False) -> str:
    """Return a pause in one line, the countdown first, so that a long reason does not hide it.

    `seconds` to the next try (0: it is being made), and how many `files` it concerns.
    """
    concerned = f", {files} files" if files > 1 else ""
    left = f"{seconds} s" if seconds < 60 else span(seconds)
    if waits:
        return f"Waiting{f' {left}' if seconds else ''}{concerned}: {text}"
    return f"Trying again {f'in {left}' if seconds else 'now'}{concerned}: {text}"


def lines(state: State, newest: Sequence[FileState], pauses: Sequence[str], *, width: int, height: int) -> list[str]:
    """Return the display for a terminal of this size: all files, lines of pauses, and the newest with their names.

    One column stays free, since some terminals wrap as soon as the last one is written, and one line for the prompt.
    """
    width, room = max(1, width - 1), max(1, height - 1)
    drawn = _joined(summary(state), width)
    for pause in pauses[:_PAUSES]:
        drawn += wrapped(pause, width, _LINES_OF_PAUSE)
    if state.total > 1:
        drawn += _names(newest, width)
    return drawn[:room]


def single_line(state: State, pauses: Sequence[str], *, width: int) -> str:
    """Return the display in a single line: why there is a pause, otherwise the state of all files."""
    return cut(pauses[0] if pauses else one_line(state), max(1, width - 1))


def _joined(pieces: Iterable[str], width: int) -> list[str]:
    found: list[str] = []
    for piece in pieces:
        if found and columns(found[-1]) + 2 + columns(piece) <= width:
            found[-1] += f", {piece}"
        else:
            found.append(cut(piece, width))
    return found


def _names(files: Sequence[FileState], width: int) -> list[str]:
    right = [
        amount(file.through)
        if file.size is None
        else f"{100 * file.through // max(1, file.size):>3} %  of {amount(file.size)}"
        for file in files
    ]
    widest = max(map(columns, right), default=0)
    room = width - widest - 4
    if room < 8:
        return []
    names = [shortened(file.label, room) for file in files]
    broadest = max(map(columns, names), default=0)
    return [f"  {name}{' ' * (broadest - columns(name))}  {text}" for name, text in zip(names, right, strict=True)]
