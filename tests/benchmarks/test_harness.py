"""The harness itself: what it measures of a process, and what it makes of the numbers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.contest import Claim, Contest, Report, Run, compete
from benchmarks.contestants.mandated_work import JOBS
from benchmarks.data import check, make_random_file, make_sparse_file, sha256_of
from benchmarks.process import Failed, Usage, run
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.scenarios.growth import rounds_of
from benchmarks.stand import ROOT, Options
from benchmarks.warm_memory import WarmMemory

PYTHON = sys.executable


class TestProcesses:
    def test_wall_and_processor_time(self) -> None:
        usage = run([PYTHON, "-c", "import time; time.sleep(0.3)"])
        assert usage.wall >= 0.3
        busy = run([PYTHON, "-c", "import time\nwhile time.process_time() < 0.3: pass"])
        assert busy.cpu >= 0.3
        assert usage.cpu < busy.cpu

    def test_peak_memory(self) -> None:
        """The harness's own memory, which a new process is born with, does not count."""
        ballast = bytearray(b"x") * 100_000_000
        small = run([PYTHON, "-c", "import time; time.sleep(0.3)"]).peak
        assert small < 50e6
        # It stays a while: where earlier tests have made this process larger still, samples alone tell its peak.
        large = run([PYTHON, "-c", "import time; kept = bytearray(b'x') * 300_000_000; time.sleep(0.5)"]).peak
        assert 290e6 < large < 350e6
        assert len(ballast) == 100_000_000

    def test_input_and_output(self, tmp_path: Path) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        source.write_text("abc")
        run(["cat"], stdin=source, stdout=target)
        assert target.read_text() == "abc"
        assert run(["cat"], stdin="token\n").output == "token\n"

    def test_failures_say_what_the_process_said(self) -> None:
        with pytest.raises(Failed, match="nonsense"):
            run([PYTHON, "-c", "raise SystemExit('nonsense')"])

    def test_endless_processes_are_ended(self) -> None:
        with pytest.raises(Failed):
            run(["sleep", "60"], timeout=0.2)

    def test_bytes_written_over_time(self, tmp_path: Path) -> None:
        script = "import time; f = open('x', 'wb', 0); f.write(bytes(1000)); time.sleep(0.6); f.write(bytes(5000))"
        points: list[tuple[float, float]] = []
        run([PYTHON, "-c", script], cwd=tmp_path, written=points)
        assert points == sorted(points)
        assert points[-1][1] >= 1000


class TestContests:
    def test_everybody_has_a_turn_in_every_round(self) -> None:
        order: list[str] = []

        def job(name: str) -> Callable[[], Usage]:
            def once() -> Usage:
                order.append(name)
                return Usage(2.0 if name == "slow" else 0.5, 1.0, 1000)

            return once

        contest = compete("x", {"slow": job("slow"), "fast": job("fast")}, amount=10, unit="MB", rounds=3)
        assert order == ["slow", "fast", "fast", "slow", "slow", "fast"]
        assert contest.ratios("slow", "fast") == [4.0, 4.0, 4.0]
        assert contest.rate("fast") == 20

    def test_ratios_are_taken_round_by_round(self) -> None:
        runs = {"a": [Run(1, 0, 0), Run(8, 0, 0)], "b": [Run(2, 0, 0), Run(4, 0, 0)]}
        claim = Claim.of_ratios("a against b", Contest("x", 1, "MB", runs).ratios("a", "b"), 1.0)
        assert claim.value == 1.25
        assert claim.spread == (0.5, 2.0)

    def test_processor_time_against_mandated_work_and_curl(self) -> None:
        runs = {
            "connector": [Run(1, 3, 0), Run(9, 4, 0), Run(1, 8, 0)],
            MANDATED: [Run(1, 1, 0), Run(1, 1, 0), Run(1, 1, 0)],
            "curl": [Run(1, 1, 0), Run(1, 3, 0), Run(1, 1, 0)],
        }
        claim = processor_claim(Contest("download", 1000, "MB", runs), "curl", "Checked.")
        assert (claim.value, claim.spread, claim.bound, claim.holds) == (1.5, (1.0, 4.0), None, True)
        assert claim.means == "Checked. One core does 250 MB/s (2.0 Gbit/s)."
        assert report.line_of(claim).endswith(": 1.50 [1.00-4.00]")

    @pytest.mark.parametrize("job", JOBS)
    def test_mandated_work(self, job: str) -> None:
        usage = mandated_work(job, 30_000_001)
        assert 0 < usage.cpu <= (os.cpu_count() or 1) * usage.wall + 0.05
        assert usage.cpu < 1.0  # without the start of the program

    @pytest.mark.parametrize(("value", "at_most", "holds"), [(2, False, True), (1, False, False), (1, True, True)])
    def test_claims(self, value: int, at_most: bool, holds: bool) -> None:
        assert Claim("x", value, 1.5, at_most=at_most).holds is holds

    def test_tables(self, tmp_path: Path) -> None:
        found = Report("download", [Contest("down", 100, "MB", {"ours": [Run(0.5, 1, 2_000_000)]})])
        found.claims.append(Claim("times as fast", 3.0, 4.0, spread=(2.5, 3.5)))
        found.claims.append(Claim("of processor", 1.25))
        results = tmp_path / "results"
        results.mkdir()
        found.write(results, "nox -s bench")
        assert json.loads((results / "download.json").read_text())["claims"][0]["holds"] is False
        report.write_tables(results)
        text = (tmp_path / "results.md").read_text()
        assert "| times as fast | 3.00 | 2.50 - 3.50 | at least 4 | **fails** |" in text
        assert "| of processor | 1.25 |  |  |  |" in text
        assert "| ours | 200 | 0.50 | 1.00 | 0.00 | 2 | 1 |" in text


class TestReadme:
    TEXT = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\n## More\n"

    def test_tables_between_the_markers(self, tmp_path: Path) -> None:
        found = Report("download", [Contest("down", 100, "MB", {"ours": [Run(0.5, 1, 2_000_000)]})])
        found.claims.append(Claim("download: processor time", 1.5, spread=(1.2, 1.6), means="Half more than curl."))
        found.claims.append(Claim("secret goal", 3.0, 4.0))
        found.write(tmp_path, "nox -s bench -- download, 2026-01-02 03:04 UTC")
        Report("tls", [Contest("secret", 100, "MB", {"ours": [Run(0.5, 1, 2_000_000)]})]).write(tmp_path, "x, 2026 UTC")
        readme = tmp_path / "README.md"
        readme.write_text(self.TEXT)
        for _ in range(2):
            report.write_readme(tmp_path, readme)
            text = readme.read_text()
            assert text.startswith("# Title\n\n<!-- benchmarks -->\n")
            assert text.endswith("<!-- /benchmarks -->\n\n## More\n")
            assert "old" not in text
            assert text.count("| download: processor time | 1.50 | Half more than curl. |") == 1
            assert "`nox -s bench -- download` on 2026-01-02;" in text
            assert "secret" not in text

    @pytest.mark.parametrize(
        "text", ["", report.BEGIN, f"{report.END} {report.BEGIN}", f"{report.BEGIN} {report.BEGIN} {report.END}"]
    )
    def test_without_markers_nothing_is_written(self, tmp_path: Path, text: str) -> None:
        readme = tmp_path / "README.md"
        readme.write_text(text)
        with pytest.raises(Failed, match="README"):
            report.write_readme(tmp_path, readme)
        assert readme.read_text() == text

    def test_more_rows_than_a_reader_has_use_for_are_refused(self, tmp_path: Path) -> None:
        found = Report("download", claims=[Claim(str(n), 1.0, means="x") for n in range(report.README_ROWS + 1)])
        found.write(tmp_path, "nox -s bench, 2026-01-02 03:04 UTC")
        readme = tmp_path / "README.md"
        readme.write_text(self.TEXT)
        with pytest.raises(Failed, match=f"{report.README_ROWS + 1} claims"):
            report.write_readme(tmp_path, readme)
        assert readme.read_text() == self.TEXT

    def test_the_readme_holds_what_the_results_say(self, tmp_path: Path) -> None:
        """Nothing in it was written by hand, and nothing was measured that it does not say."""
        text = (ROOT / "README.md").read_text()
        copy = tmp_path / "README.md"
        copy.write_text(text)
        report.write_readme(ROOT / "benchmarks" / "results", copy)
        rows = [[line for line in each.splitlines() if line.startswith("|")] for each in (text, copy.read_text())]
        assert rows[0] == rows[1]
        assert text.count(report.BEGIN) == text.count(report.END) == 1

    @pytest.mark.parametrize(
        ("words", "command"),
        [
            ([], "nox -s bench"),
            (["--dir", "/x", "tls", "--results=/y"], "nox -s bench -- tls"),
            (["--results", "/y"], "nox -s bench"),
            (["upload", "--size", "1G"], "nox -s bench -- upload --size 1G"),
        ],
    )
    def test_the_command_is_told_without_its_places(self, words: list[Any], command: str) -> None:
        assert report.command_of(words) == command


@pytest.mark.parametrize(("large", "rounds"), [(False, [5, 1, 1]), (True, [3, 3, 1])])
def test_rounds_of_growing_files(tmp_path: Path, large: bool, rounds: list[int]) -> None:
    options = Options(1, 5, tmp_path, large=large)
    assert [rounds_of(options, factor) for factor in (1, 4, 16)] == rounds


@pytest.mark.parametrize("size", [5, 8, 9, 16 << 20, (16 << 20) + 8, (16 << 20) + 9, 50_000_001])
def test_sparse_sources(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    assert make_sparse_file(path, size) == sha256_of(path)
    assert path.stat().st_size == size
    assert path.stat().st_blocks * 512 <= 65536


def test_sources_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    digest = make_random_file(path, 3_000_000)
    assert path.stat().st_size == 3_000_000
    assert sha256_of(path) == digest
    with pytest.raises(Failed):
        check(path, digest, skip=1)
    check(path, digest)
    assert not path.exists()
    with pytest.raises(Failed, match="was not written"):
        check(path, digest)


class TestWarmMemory:
    def test_what_is_offered_is_free_and_the_rest_is_kept(self, tmp_path: Path) -> None:
        with WarmMemory(tmp_path) as memory:
            for size in (8 << 20, 16 << 20, 4 << 20):
                memory.offer(size)
                kept = os.fstat(memory.descriptor)
                assert kept.st_blocks == 0  # it takes no disk
            assert kept.st_size == 32 << 20  # twice the most that was ever asked for
        assert list(tmp_path.iterdir()) == []

    def test_contestants_get_it_before_each_run(self) -> None:
        order: list[str] = []

        def job() -> Usage:
            order.append("run")
            return Usage(1.0, 1.0, 0)

        compete("t", {"a": job, "b": job}, amount=1, unit="MB", rounds=2, room=lambda: order.append("room"))
        assert order == ["room", "run"] * 4
