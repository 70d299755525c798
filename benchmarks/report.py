"""The tables: Markdown from the JSON of the scenarios."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.contest import Claim
from benchmarks.process import Failed
from benchmarks.scenarios import NAMES

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_PLACES = ("--dir", "--results")
README_ROWS = 9


def command_of(words: Sequence[str]) -> str:
    """The command that makes a run again, by the words it was started with; without where it wrote to."""
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith(_PLACES):
            kept.append(word)
        skip = word in _PLACES
    return " ".join(["nox -s bench", *(["--", *kept] if kept else [])])


def line_of(claim: Claim) -> str:
    """One claim in one line."""
    spread = f" [{claim.spread[0]:.2f}-{claim.spread[1]:.2f}]" if claim.spread else ""
    if claim.bound is None:
        return f"{claim.text}: {claim.value:.2f}{spread}"
    sign = "<=" if claim.at_most else ">="
    return f"{'holds' if claim.holds else 'FAILS'}: {claim.text}: {claim.value:.2f}{spread} ({sign} {claim.bound:g})"


def write_readme(results: Path, readme: Path) -> None:
    """Write the claims that mean something to a user into ``readme``, between its two markers.

    Raises :class:`~benchmarks.process.Failed` if the markers are not there, once each and in order, or if there are
    more rows than a reader has use for.
    """
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or BEGIN in rest or END in before + after:
        raise Failed(f"{readme} has not one {BEGIN} with one {END} behind it")
    readme.write_text("\n".join([before + begin, "", *_short_form(_load(results)), "", end + after]))


def _short_form(scenarios: list[dict[str, Any]]) -> list[str]:
    """One row per claim that has a meaning, and the commands that made them."""
    rows = ["| what | measured | for you |", "|---|---:|---|"]
    made: dict[str, list[str]] = {}
    for found in sorted(scenarios, key=lambda found: _place(found["name"])):
        claims = [claim for claim in found["claims"] if claim.get("means")]
        rows += [f"| {claim['text']} | {_number(claim['value'])} | {claim['means']} |" for claim in claims]
        if claims:
            command, _, time = str(found["made_by"]).rpartition(", ")
            made.setdefault(f"`{command}` on {time.split()[0]}", []).append(found["name"])
    if len(rows) - 2 > README_ROWS:
        raise Failed(f"{len(rows) - 2} claims have a meaning; README has room for {README_ROWS}")
    makers = [command if len(made) == 1 else f"{command} ({', '.join(names)})" for command, names in made.items()]
    return [f"Made by {', '.join(makers)}; {_machine()}. Medians.", "", *rows]


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _place(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _bound(claim: dict[str, Any]) -> str:
    if claim["bound"] is None:
        return ""
    return f"{'at most' if claim['at_most'] else 'at least'} {claim['bound']:g}"


def _load(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]


def write_tables(results: Path) -> None:
    """Write ``results.md`` beside the folder, from all JSON files in it, also of earlier runs, each with its time."""
    lines = ["# Results", "", f"Measured on {_machine()}.", ""]
    lines += ["Medians over all rounds; contestants took turns. Loopback; the servers share the cores with them.", ""]
    claims = ["| claim | measured | smallest and largest | asked for | |", "|---|---:|---:|---:|---|"]
    tables: list[str] = []
    for found in _load(results):
        for claim in found["claims"]:
            spread = "{:.2f} - {:.2f}".format(*claim["spread"]) if claim["spread"] else ""
            verdict = "" if claim["bound"] is None else "holds" if claim["holds"] else "**fails**"
            claims.append(f"| {claim['text']} | {claim['value']:.2f} | {spread} | {_bound(claim)} | {verdict} |")
        for contest in found["contests"]:
            tables += ["", f"### {contest['title']}", "", *_table(contest), "", f"_{found.get('made_by', '')}_"]
        tables += [line for note in found["notes"] for line in ("", note)]
    lines += ["## Claims", "", *claims, "", "## Contests", *tables, "", "## Versions", ""]
    for name in (*peers.DEBIAN, *peers.PACKAGES):
        try:
            lines.append(f"- {name}: {peers.version(name)}")
        except (Failed, OSError):
            lines.append(f"- {name}: not installed")
    results.with_name("results.md").write_text("\n".join(lines) + "\n")


def _table(contest: dict[str, Any]) -> list[str]:
    unit = contest["unit"]
    lines = [
        f"| | {unit}/s | seconds | processor seconds | servers' | peak MB | runs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in contest["runs"].items():
        wall, cpu, peak, server = (
            statistics.median(run[what] for run in runs) for what in ("wall", "cpu", "peak", "server_cpu")
        )
        lines.append(
            f"| {name} | {contest['amount'] / wall:.0f} | {wall:.2f} | {cpu:.2f} | {server:.2f} | {peak / 1e6:.0f} "
            f"| {len(runs)} |"
        )
    return lines


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
