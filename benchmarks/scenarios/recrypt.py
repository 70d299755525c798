"""A large file decrypted and encrypted on the local disk: ours, the crypt4gh command, and curl, which copies it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import Claim, Report, compete
from benchmarks.data import check
from benchmarks.peers import ours, program
from benchmarks.process import Command, Usage
from benchmarks.process import run as run_process
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.stand import Options, Stand

CURL = "curl -o of the file"


def run(options: Options) -> Report:
    report = Report("recrypt")
    with Stand(options, "recrypt") as stand:
        source, digest = stand.source("plain.bin", options.size)
        keys = stand.keys
        sealed = stand.empty("sealed") / "plain.bin.c4gh"
        encrypt_by_peer: Command = [program("crypt4gh"), "encrypt", "--sk", keys.private, "--recipient_pk", keys.public]
        decrypt_by_peer: Command = [program("crypt4gh"), "decrypt", "--sk", keys.private]
        run_process(encrypt_by_peer, stdin=source, stdout=sealed)

        def decrypt_ours() -> Usage:
            out = stand.empty("out")
            own: Command = ["--my-private-key-path", keys.private]
            usage = run_process([ours(), "decrypt", "--quiet", *own, "--output-dir", out, sealed])
            check(out / "plain.bin", digest)
            return usage

        def decrypt_peer() -> Usage:
            out = stand.empty("out")
            usage = run_process(decrypt_by_peer, stdin=sealed, stdout=out / "plain.bin")
            check(out / "plain.bin", digest)
            return usage

        def opened(path: Path) -> None:
            back = stand.empty("back") / "plain.bin"
            run_process(decrypt_by_peer, stdin=path, stdout=back)
            check(back, digest)

        def encrypt_ours() -> Usage:
            out = stand.empty("out")
            to: Command = ["--recipient-public-key-path", keys.public, "--my-private-key-path", keys.private]
            usage = run_process([ours(), "encrypt", "--quiet", *to, "--output-dir", out, source])
            opened(out / "plain.bin.c4gh")
            return usage

        def encrypt_peer() -> Usage:
            out = stand.empty("out")
            usage = run_process(encrypt_by_peer, stdin=source, stdout=out / "plain.bin.c4gh")
            opened(out / "plain.bin.c4gh")
            return usage

        def copy(path: Path) -> Usage:
            target = stand.empty("out") / path.name
            return run_process([program("curl"), "-sS", "-o", target, path.as_uri()])

        sizes = {"amount": options.size / 1e6, "unit": "MB", "rounds": options.rounds, "room": options.room()}
        decrypt = compete(
            "decrypt",
            {
                "connector": decrypt_ours,
                MANDATED: lambda: mandated_work("decrypt", options.size),
                CURL: lambda: copy(sealed),
                "crypt4gh": decrypt_peer,
            },
            **sizes,  # type: ignore[arg-type]
        )
        encrypt = compete(
            "encrypt",
            {
                "connector": encrypt_ours,
                MANDATED: lambda: mandated_work("encrypt", options.size),
                CURL: lambda: copy(source),
                "crypt4gh": encrypt_peer,
            },
            **sizes,  # type: ignore[arg-type]
        )
    report.contests += [decrypt, encrypt]
    report.claims += [
        processor_claim(decrypt, CURL, "On this machine, without an archive."),
        processor_claim(encrypt, CURL, "The same, for any recipient's public key."),
        Claim.of_ratios("decrypt against crypt4gh (times as fast)", decrypt.ratios("crypt4gh", "connector"), 1.8),
        Claim.of_ratios("encrypt against crypt4gh (times as fast)", encrypt.ratios("crypt4gh", "connector"), 1.4),
    ]
    return report
