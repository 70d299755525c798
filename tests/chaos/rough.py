"""Transfers over a line that cuts, refuses and stalls, and with leases that live for seconds; figures by hand::

    python -m tests.chaos.rough --what download --size 2048
    python -m tests.chaos.rough --what upload --size 1024 --leases

The first measures the undisturbed transfer over the same proxy too. ``--leases`` has tokens live 3 s and URLs 2 s.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import attrs

from tests.support.chaos_stage import MIB, Stage, open_stage, sha256_of
from tests.support.faults import Counts, Faults


@attrs.frozen
class Figures:
    """How a transfer went."""

    seconds: float
    right: bool
    counts: Counts
    said: str

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{self.seconds:.1f} s, {'right' if self.right else 'WRONG'};"
            f" {counts.requests} requests, {counts.connections} connections, {counts.cut} cut,"
            f" {counts.refused} refused, {counts.stalled} stalled, {counts.downloaded / MIB:.0f} MiB down,"
            f" {counts.uploaded / MIB:.0f} MiB up"
        )


def rough(*, seed: int = 1, cut_after: tuple[int, int] = (MIB, 64 * MIB), stall_seconds: float = 30.0) -> Faults:
    return Faults(cut_after=cut_after, refuse=0.1, stall=0.02, stall_seconds=stall_seconds, seed=seed)


def slow(bytes_per_second: float) -> Faults:
    return Faults(bytes_per_second=bytes_per_second)


def transfer(
    stage: Stage, what: str, size: int, faults: Faults, *, name: str, options: tuple[object, ...] = ()
) -> Figures:
    """Move one file through the faults and check what arrived."""
    stage.calm()
    environment = {"CONNECTOR_READ_TIMEOUT": "10"}
    if what == "download":
        published = stage.publish(name, size)
        token, out = stage.grant_download(published.accession), stage.folder / "rough"
        shutil.rmtree(out, ignore_errors=True)
        command: tuple[object, ...] = ("download", "--output-dir", out, "--decrypt", *options)
    else:
        path, alias = stage.source(name, size), f"rough-{time.monotonic_ns()}"
        token = stage.archive.grant_upload(stage.keys.public)
        command = ("upload", path, "--alias", alias, *options)
    stage.calm()
    stage.proxy.faults = faults
    began = time.monotonic()
    done = stage.run(*command, token=token, timeout=1200, **environment)
    seconds = time.monotonic() - began
    counts = attrs.evolve(stage.proxy.counts)
    stage.calm()
    if done.code:
        right = False
    elif what == "download":
        right = sha256_of(out / f"{published.accession}.bin") == published.sha256
        shutil.rmtree(out)
    else:
        right = stage.registered(alias, seconds=300).sha256 == sha256_of(path)
    return Figures(seconds, right, counts, f"exit code {done.code}\n{done.err}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("download", "upload"), required=True)
    parser.add_argument("--size", type=int, default=2048, metavar="MIB")
    parser.add_argument("--leases", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the archive's process is ended too
    lives = ("--work-order-lifetime", "3", "--url-lifetime", "2") if given.leases else ()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, open_stage(Path(folder) / "stage", *lives) as stage:
        for label, faults in (
            ("short leases", Faults()) if given.leases else ("undisturbed", Faults()),
            *([] if given.leases else [("rough", rough(seed=given.seed))]),
        ):
            figures = transfer(stage, given.what, given.size * MIB, faults, name="rough.bin")
            print(f"{given.what} of {given.size} MiB, {label}: {figures}", flush=True)
            if not figures.right:
                print(figures.said)
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
