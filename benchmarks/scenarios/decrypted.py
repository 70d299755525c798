"""One large file down to its plaintext: ours in one go, ghga-connector in two steps."""

from __future__ import annotations

from benchmarks.contest import Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.stand import Options


def run(options: Options) -> Report:
    report = Report("decrypted")
    with DownloadStand(options, "decrypted") as stand:
        stand.prepare([options.size])
        contest = compete(
            "download --decrypt",
            {
                "connector": lambda: stand.download_with_ours("--decrypt"),
                MANDATED: lambda: mandated_work("download", options.size),
                "curl -o": stand.fetch_with_curl,
                "ghga-connector, two steps": lambda: stand.download_with_peer(decrypt=True),
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    report.claims.append(
        processor_claim(contest, "curl -o", "The plaintext costs no second pass over the file, nor room for it twice.")
    )
    return report
