"""The tables: Markdown from the JSON of the scenarios."""

from __future__ import annotations

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.contest import Claim
from benchmarks.process import Failed


def line_of(claim: Claim) -> str:
    """One claim in one line."""
    spread = f" [{claim.spread[0]:.2f}-{claim.spread[1]:.2f}]" if claim.spread else ""
    sign = "<=" if claim.at_most else ">="
    return f"{'holds' if claim.holds else 'FAILS'}: {claim.text}: {claim.value:.2f}{spread} ({sign} {claim.bound:g})"


def write_tables(results: Path) -> None:
    """Write ``results.md`` from all JSON files in the folder, also those of earlier runs, each with its time."""
    lines = ["# Results", "", f"Measured on {_machine()}.", ""]
    lines += ["Medians over all rounds; contestants took turns. Loopback; the servers share the cores with them.", ""]
    claims = ["| claim | measured | smallest and largest | asked for | |", "|---|---:|---:|---:|---|"]
    tables: list[str] = []
    for path in sorted(results.glob("*.json")):
        found = json.loads(path.read_text())
        for claim in found["claims"]:
            spread = "{:.2f} - {:.2f}".format(*claim["spread"]) if claim["spread"] else ""
            sign = "at most" if claim["at_most"] else "at least"
            verdict = "holds" if claim["holds"] else "**fails**"
            claims.append(
                f"| {claim['text']} | {claim['value']:.2f} | {spread} | {sign} {claim['bound']:g} | {verdict} |"
            )
        for contest in found["contests"]:
            tables += ["", f"### {contest['title']}", "", *_table(contest), "", f"_{found.get('made_by', '')}_"]
        tables += [line for note in found["notes"] for line in ("", note)]
    lines += ["## Claims", "", *claims, "", "## Contests", *tables, "", "## Versions", ""]
    for name in (*peers.DEBIAN, *peers.PACKAGES):
        try:
            lines.append(f"- {name}: {peers.version(name)}")
        except (Failed, OSError):
            lines.append(f"- {name}: not installed")
    (results / "results.md").write_text("\n".join(lines) + "\n")


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
