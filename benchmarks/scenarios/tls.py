"""Downloads and uploads over TLS."""

from __future__ import annotations

from benchmarks.contest import Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand


def run(options: Options) -> Report:
    report = Report("tls")
    common = {"amount": options.size / 1e6, "unit": "MB", "rounds": options.rounds, "room": options.room()}
    with DownloadStand(options, "tls-down") as stand:
        stand.prepare([options.size], tls=True)
        down = compete(
            "download over TLS",
            {
                "connector": stand.download_with_ours,
                MANDATED: lambda: mandated_work("download", options.size),
                "curl -o": stand.fetch_with_curl,
            },
            **common,  # type: ignore[arg-type]
        )
    with UploadStand(options, "tls-up") as tls:
        tls.prepare([options.size], tls=True)
        up = compete(
            "upload over TLS",
            {
                "connector": tls.upload_with_ours,
                MANDATED: lambda: mandated_work("upload", options.size),
                "curl -T, unencrypted": tls.put_with_curl,
            },
            **common,  # type: ignore[arg-type]
        )
    report.contests += [down, up]
    report.claims += [
        processor_claim(down, "curl -o", "The same from an archive that is reached by https."),
        processor_claim(up, "curl -T, unencrypted", "The same to an archive that is reached by https."),
    ]
    return report
