"""The same over TLS: downloads against curl and httpx's own transport, uploads against those without TLS."""

from __future__ import annotations

import statistics

from benchmarks.contest import Claim, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

THROUGH_HTTPX = "connector, through httpx's own transport"


def run(options: Options) -> Report:
    report = Report("tls")
    common = {"amount": options.size / 1e6, "unit": "MB", "rounds": options.rounds, "room": options.room()}
    with DownloadStand(options, "tls-down") as stand:
        stand.prepare([options.size], tls=True)
        down = compete(
            "download over TLS",
            {
                "connector": stand.download_with_ours,
                "curl -o": stand.fetch_with_curl,
                THROUGH_HTTPX: lambda: stand.download_with_ours(through_httpx=True),
                "bulk transport, no control": lambda: stand.fetch_in_parts("bulk"),
                "httpx transport, no control": lambda: stand.fetch_in_parts("httpx"),
            },
            **common,  # type: ignore[arg-type]
        )
    with UploadStand(options, "tls-up") as tls, UploadStand(options, "plain-up") as plain:
        tls.prepare([options.size], tls=True)
        plain.prepare([options.size])
        up = compete(
            "upload to nginx",
            {"with TLS": tls.upload_with_ours, "without TLS": plain.upload_with_ours},
            **common,  # type: ignore[arg-type]
        )
    report.contests += [down, up]
    report.claims += [
        Claim.of_ratios("download over TLS against curl over TLS", down.ratios("curl -o", "connector"), 0.7),
        Claim.of_ratios(
            "download over TLS against httpx's own transport (times as fast)",
            down.ratios(THROUGH_HTTPX, "connector"),
            4.0,
        ),
        Claim.of_ratios("upload over TLS against upload without", up.ratios("without TLS", "with TLS"), 0.8),
    ]
    alone = down.ratios("httpx transport, no control", "bulk transport, no control")
    report.notes.append(
        f"The transports alone, without control calls, digests and opening: the bulk transport is "
        f"{statistics.median(alone):.1f} times as fast over TLS as httpx's."
    )
    return report
