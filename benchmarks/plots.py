"""Draw the contests as bars and the series as curves. Runs with matplotlib's own Python: ``plots.py RESULTS``."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

BESIDE = "connections"
"""What the names of curves begin with that have an axis of their own, on the right."""


def draw_contests(found: dict[str, Any], path: Path) -> None:
    contests = found["contests"]
    figure, axes = pyplot.subplots(
        len(contests), 1, figsize=(8, 0.6 + sum(0.6 + 0.42 * len(c["runs"]) for c in contests))
    )
    for axis, contest in zip([axes] if len(contests) == 1 else axes, contests, strict=True):
        names = list(contest["runs"])[::-1]
        rates = [[contest["amount"] / run["wall"] for run in contest["runs"][name]] for name in names]
        colors = ["#1b6ca8" if name.startswith(("connector", "with TLS")) else "#b8b8b8" for name in names]
        axis.barh(names, [statistics.median(values) for values in rates], color=colors)
        for row, values in enumerate(rates):
            axis.plot(values, [row] * len(values), "k.", markersize=3)
        axis.set_title(contest["title"], loc="left", fontsize=10)
        axis.set_xlabel(f"{contest['unit']}/s", fontsize=8)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_series(found: dict[str, Any], path: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(8, 4))
    beside = axis.twinx() if any(name.startswith(BESIDE) for name in found["series"]) else axis
    for number, (name, points) in enumerate(found["series"].items()):
        where, style = (beside, "--") if name.startswith(BESIDE) else (axis, "-")
        # A curve and what is drawn beside it follow each other, in one colour.
        color = f"C{number // 2 if beside is not axis else number}"
        where.plot([x for x, _ in points], [y for _, y in points], style, label=name, linewidth=1.2, color=color)
    if beside is not axis:
        beside.set_ylim(bottom=0)
        beside.legend(fontsize=8, loc="lower right")
    axis.set_title(found["name"], loc="left", fontsize=10)
    axis.legend(fontsize=8)
    axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(results: Path) -> None:
    for path in sorted(results.glob("*.json")):
        found = json.loads(path.read_text())
        if found["contests"]:
            draw_contests(found, path.with_suffix(".png"))
        if found["series"]:
            draw_series(found, path.with_name(f"{path.stem}-curves.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
