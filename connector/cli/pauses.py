"""Why transfers pause: the same cause, told of by many parts and files, is one pause."""

from __future__ import annotations

import re

import attrs

SAY_EVERY = 60.0
"""Seconds between two lines about the same cause, and without it after which it has gone."""
_GATHER = 0.5
"""Seconds for which a line about a cause waits for all whom it concerns: they tell of it one after the other."""
_LINGER = 1.0
"""Seconds for which a pause that is over can still be read."""

# What differs between reports of one cause: digests and ids, then numbers (of parts, ports, bytes, addresses).
_IDS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+")


def cause_of(text: str, label: str = "") -> str:
    """Return what sentences about one cause have in common, whatever file and part they are about."""
    if label:
        text = text.replace(label, "*")
    return _NUMBERS.sub("#", _IDS.sub("#", text))


@attrs.define
class Pause:
    """A cause, in the words in which it was last told. `then` says what follows it; `labels` whom it concerns."""

    text: str
    then: str
    waits: bool
    since: float
    labels: dict[str, None] = attrs.field(factory=dict)
    tries: list[float] = attrs.field(factory=list)
    told: float = 0.0
    said: float | None = None
    count: int = 0

    @property
    def who(self) -> str:
        """The files that it concerns, for the beginning of a line; empty if it concerns calls for no file."""
        labels = list(self.labels)
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        return f"{labels[0]}{more}" if labels else ""

    @property
    def sentence(self) -> str:
        """What a line about it says."""
        often = f" ({self.count} times in the last minute.)" if self.said is not None and self.count > 1 else ""
        return (f"waiting. {self.text}" if self.waits else f"{self.text} {self.then}") + often

    def seconds(self, now: float) -> int | None:
        """Seconds to the next try, 0 for one that is being made; None if none is to come."""
        ahead = [at for at in self.tries if at > now]
        if ahead:
            return max(1, round(min(ahead) - now))
        return 0 if self.tries and self.tries[-1] > now - _LINGER else None


class Pauses:
    """The pauses of a command."""

    def __init__(self) -> None:
        self._pauses: dict[str, Pause] = {}

    def add(self, label: str, text: str, then: str, delay: float, now: float, *, waits: bool = False) -> None:
        """Something failed, or waits, and is tried again in `delay` seconds."""
        self._pauses = {cause: pause for cause, pause in self._pauses.items() if not _has_gone(pause, now)}
        pause = self._pauses.setdefault(cause_of(text, label), Pause(text, then, waits, now))
        pause.text, pause.then, pause.told = text, then, now
        pause.tries = sorted([at for at in pause.tries if at > now - _LINGER] + [now + delay])
        pause.count += 1
        if label:
            pause.labels.setdefault(label)

    def current(self, now: float) -> list[Pause]:
        """The pauses of this moment, the one that was told of last first."""
        found = [pause for pause in self._pauses.values() if pause.seconds(now) is not None]
        return sorted(found, key=lambda pause: -pause.told)

    def to_say(self, now: float, *, again: bool, at_once: bool = False) -> list[tuple[str, str]]:
        """Whom and what lines are due about: each cause at its beginning, and every minute if `again`.

        `at_once`: also causes whose line is not due yet, but no waits: the files may have ended by now.
        """
        lines = []
        for pause in self._pauses.values():
            if at_once and pause.waits:
                continue
            began = pause.said is None and (at_once or now - pause.since >= _GATHER)
            if pause.count and (began or (again and pause.said is not None and now - pause.said >= SAY_EVERY)):
                lines.append((pause.who, pause.sentence))
                pause.said, pause.count = now, 0
        return lines


def _has_gone(pause: Pause, now: float) -> bool:
    return now - pause.told >= SAY_EVERY and pause.seconds(now) is None and not (pause.count and pause.said is None)
