"""Why transfers pause: reports of the same cause by many parts and files are merged into one pause."""

from __future__ import annotations

import re

import attrs

REPEAT_EVERY = 60.0
"""Seconds between two lines about the same cause, and without a report after which it counts as over."""
_COLLECT_FOR = 0.5
"""Seconds for which a line about a cause is delayed, to collect the files that report it."""
_SHOWN_AFTER_END = 1.0
"""Seconds for which a pause is shown after its end."""

# What differs between reports of one cause: digests and ids, then numbers (of parts, ports, bytes, addresses).
_IDS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+")


def cause_of(text: str, label: str = "") -> str:
    """Return what messages about one cause have in common, independent of file and part."""
    if label:
        text = text.replace(label, "*")
    return _NUMBERS.sub("#", _IDS.sub("#", text))


@attrs.define
class Pause:
    """A cause with its last message. `then` states what follows it; `labels`: the files that it concerns."""

    text: str
    then: str
    waits: bool
    since: float
    labels: dict[str, None] = attrs.field(factory=dict)
    tries: list[float] = attrs.field(factory=list)
    reported: float = 0.0
    printed: float | None = None
    count: int = 0

    @property
    def files(self) -> str:
        """The files that it concerns, for the beginning of a line; empty if it concerns calls for no file."""
        labels = list(self.labels)
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        return f"{labels[0]}{more}" if labels else ""

    @property
    def sentence(self) -> str:
        """The text of a line about it."""
        often = f" ({self.count} times in the last minute.)" if self.printed is not None and self.count > 1 else ""
        return (f"waiting. {self.text}" if self.waits else f"{self.text} {self.then}") + often

    def seconds(self, now: float) -> int | None:
        """Seconds to the next try, 0 for one that is being made; None if none is to come."""
        ahead = [at for at in self.tries if at > now]
        if ahead:
            return max(1, round(min(ahead) - now))
        return 0 if self.tries and self.tries[-1] > now - _SHOWN_AFTER_END else None


class Pauses:
    """The pauses of a command."""

    def __init__(self) -> None:
        self._pauses: dict[str, Pause] = {}

    def add(self, label: str, text: str, then: str, delay: float, now: float, *, waits: bool = False) -> None:
        """Add a report of a failure or wait, with the next try in `delay` seconds."""
        self._pauses = {cause: pause for cause, pause in self._pauses.items() if not _is_over(pause, now)}
        pause = self._pauses.setdefault(cause_of(text, label), Pause(text, then, waits, now))
        pause.text, pause.then, pause.reported = text, then, now
        pause.tries = sorted([at for at in pause.tries if at > now - _SHOWN_AFTER_END] + [now + delay])
        pause.count += 1
        if label:
            pause.labels.setdefault(label)

    def current(self, now: float) -> list[Pause]:
        """The present pauses, the one that was reported last first."""
        found = [pause for pause in self._pauses.values() if pause.seconds(now) is not None]
        return sorted(found, key=lambda pause: -pause.reported)

    def due_lines(self, now: float, *, again: bool, at_once: bool = False) -> list[tuple[str, str]]:
        """The lines that are due, each with its files: each cause at its beginning, and every minute if `again`.

        `at_once`: also causes whose line is not due yet, except waits, whose files may have ended meanwhile.
        """
        lines = []
        for pause in self._pauses.values():
            if at_once and pause.waits:
                continue
            began = pause.printed is None and (at_once or now - pause.since >= _COLLECT_FOR)
            if pause.count and (began or (again and pause.printed is not None and now - pause.printed >= REPEAT_EVERY)):
                lines.append((pause.files, pause.sentence))
                pause.printed, pause.count = now, 0
        return lines


def _is_over(pause: Pause, now: float) -> bool:
    return (
        now - pause.reported >= REPEAT_EVERY
        and pause.seconds(now) is None
        and not (pause.count and pause.printed is None)
    )
