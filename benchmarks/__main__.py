"""Run scenarios and write what they found: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks import peers, report
from benchmarks.process import Failed
from benchmarks.scenarios import BY_NAME_ONLY, NAMES
from benchmarks.stand import Options
from benchmarks.warm_memory import WarmMemory

HERE = Path(__file__).resolve().parent
DISK = Path("/var/tmp")
"""For temporary files that are to lie on a disk (FHS 5.15): ``/tmp`` may be memory, or a place where others have just
deleted many files, which makes new ones slow (:mod:`benchmarks.leftovers`)."""
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text: str) -> int:
    """Bytes from ``256M``, ``1G`` or a plain number."""
    unit = text[-1].upper()
    return int(float(text[:-1]) * UNITS[unit]) if unit in UNITS else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all but {', '.join(BY_NAME_ONLY)} by default"
    )
    parser.add_argument("--size", type=size, default=1 << 30, help="of the large files; 1G by default")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of every contest; 5 by default")
    parser.add_argument("--files", type=int, default=200, help="of the small files")
    parser.add_argument("--large", action="store_true", help="growth up to 16 times the size instead of 4")
    parser.add_argument(
        "--dir",
        type=Path,
        default=DISK if DISK.is_dir() and "TMPDIR" not in os.environ else None,
        help="where to work: the disk that is measured; a temporary folder in $TMPDIR or /var/tmp by default",
    )
    parser.add_argument(
        "--results", type=Path, default=HERE, help="where results.md goes, and results/ with the JSON and the plots"
    )
    parser.add_argument("--readme", action="store_true", help="write the figures for users into README.md, too")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose of {', '.join(NAMES)}")
    results = arguments.results / "results"
    results.mkdir(parents=True, exist_ok=True)
    command = report.command_of(sys.argv[1:])
    failed = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.dir) as folder,
        WarmMemory(Path(folder)) as memory,
    ):
        options = Options(
            arguments.size,
            arguments.pairs,
            Path(folder),
            large=arguments.large,
            files=arguments.files,
            memory=memory,
        )
        for name in arguments.names or [name for name in NAMES if name not in BY_NAME_ONLY]:
            print(f"{name}:", flush=True)
            began = time.monotonic()
            try:
                found = importlib.import_module(f"benchmarks.scenarios.{name}").run(options)
            except Exception as error:  # the others are worth having all the same
                if not isinstance(error, Failed):
                    traceback.print_exc()
                print(f"  {name} failed: {error}", flush=True)
                failed.append(name)
                continue
            made = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            found.write(results, f"{command}, {made} UTC")
            for claim in found.claims:
                print("  " + report.line_of(claim), flush=True)
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    report.write_tables(results)
    if arguments.readme:
        report.write_readme(results, HERE.parent / "README.md")
    plot(results)
    return 1 if failed else 0


def plot(results: Path) -> None:
    """Draw the plots, in an environment of their own: matplotlib is no dependency of anything here."""
    try:
        python = peers.program("matplotlib")
    except Failed as error:
        print(f"no plots: {error}")
        return
    script = Path(__file__).with_name("plots.py")
    subprocess.run([python, script, results], check=False)


if __name__ == "__main__":
    sys.exit(main())
