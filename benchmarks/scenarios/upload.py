"""One large file up to nginx: ours, ghga-connector and curl; and ours to the embedded archive, as it is run without
nginx."""

from __future__ import annotations

from benchmarks.contest import Claim, Report, compete
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

MIB = 1 << 20
PEAK = 300.0
CURL = "curl -T, unencrypted"
PEER = "ghga-connector, 16 MiB parts"
EMBEDDED = "connector, to the embedded archive"


def run(options: Options) -> Report:
    report = Report("upload")
    with UploadStand(options, "upload") as stand:
        stand.prepare([options.size])
        contest = compete(
            "upload",
            {
                "connector": stand.upload_with_ours,
                MANDATED: lambda: mandated_work("upload", options.size),
                CURL: stand.put_with_curl,
                PEER: lambda: stand.upload_with_peer(16 * MIB),
                EMBEDDED: lambda: stand.upload_with_ours(receiver="archive"),
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    report.claims += [
        processor_claim(contest, CURL, "Encrypted on the way, and hashed three times, as the archive asks."),
        Claim(
            "peak memory of an upload (MB)",
            contest.median("connector", "peak") / 1e6,
            PEAK,
            at_most=True,
            means="The same; files above 78 GiB have larger parts, and above 2.4 TiB one part takes more than that.",
        ),
    ]
    report.notes.append(
        f"nginx and the control calls took {contest.median('connector', 'server_cpu'):.1f} s of processor per upload "
        f"of ours, {contest.median(PEER, 'server_cpu'):.1f} s per upload of the peer, on the cores that the client "
        f"uses; the embedded archive, which digests the parts, {contest.median(EMBEDDED, 'server_cpu'):.1f} s. In real "
        "life these are another machine's. Storage that digests parts does it there, too."
    )
    return report
