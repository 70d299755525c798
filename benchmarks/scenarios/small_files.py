"""Many small files both ways, at once and with 20 ms added to every call, under the archive's cap of open uploads."""

from __future__ import annotations

from benchmarks.contest import Claim, Contest, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

DELAY = 0.02


def run(options: Options) -> Report:
    report = Report("small_files")
    sizes = [options.file_size] * options.files
    for delay in (0.0, DELAY):
        faults = ["--delay", str(delay)] if delay else []
        where = f", {delay * 1000:.0f} ms more per call" if delay else ""
        common = {"amount": float(options.files), "unit": "files", "rounds": options.rounds}
        with DownloadStand(options, "small-down") as stand:
            stand.prepare(sizes, faults=faults)
            down = compete(
                f"{options.files} small files down{where}",
                {"connector": stand.download_with_ours, "ghga-connector": stand.download_with_peer},
                **common,  # type: ignore[arg-type]
            )
        with UploadStand(options, "small-up") as upload_stand:
            upload_stand.prepare(sizes, receiver="archive", faults=faults)
            up = compete(
                f"{options.files} small files up{where}",
                {"connector": upload_stand.upload_with_ours, "ghga-connector": upload_stand.upload_with_peer},
                **common,  # type: ignore[arg-type]
            )
        report.contests += [down, up]
        for contest, bound in ((down, 10.0 if delay else 8.0), (up, 10.0 if delay else 2.5)):
            ratios = contest.ratios("ghga-connector", "connector")
            report.claims.append(
                Claim.of_ratios(f"{contest.title} against ghga-connector (times as fast)", ratios, bound)
            )
            report.notes += [_servers_share(contest, name) for name in ("connector", "ghga-connector")]
    return report


def _servers_share(contest: Contest, name: str) -> str:
    """How much of the cores the servers take (and what makes calls slower, if anything does), for a note."""
    wall, servers, own = (contest.median(name, what) for what in ("wall", "server_cpu", "cpu"))
    return (
        f"{contest.title}, {name}: {contest.amount / wall:.0f} files/s. "
        f"The servers take {servers / wall:.2f} of a core, {1000 * servers / contest.amount:.1f} ms of processor "
        f"per file, the client {own / wall:.2f} of a core, "
        f"{1000 * own / contest.amount:.1f} ms per file: the servers' share of both is {servers / (servers + own):.0%}."
    )
