"""Transfers that are killed with -9 at random moments and then run again: is the file right, and how much went twice?

By hand, with a table of every kill::

    python -m tests.chaos.kills --what download --kills 100
    python -m tests.chaos.kills --what upload --kills 100

What went through is counted by the proxy, in bytes of bodies.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from connector.crypt4gh.segments import align_to_segments, sealed_size
from tests.support.chaos_stage import MIB, Stage, open_stage, sha256_of
from tests.support.faults import Faults
from tests.support.program import Done, finish

CONCURRENCY = 4
PART_SIZE = 5 * MIB
SLACK = MIB
"""What the calls of the APIs come to."""
OPTIONS = ("--part-size", PART_SIZE, "--max-concurrency", CONCURRENCY)


@attrs.frozen
class Killed:
    """One transfer with its kills. ``again``: bytes that went through more than once."""

    number: int
    moments: tuple[float, ...]
    kills: int
    seconds: float
    again: int
    right: bool
    last: Done

    @property
    def allowed(self) -> int:
        """The parts that were in flight at each kill; nothing else may go again."""
        return self.kills * CONCURRENCY * align_to_segments(PART_SIZE) + SLACK

    @property
    def good(self) -> bool:
        return self.right and self.last.code == 0 and self.again <= self.allowed

    def __str__(self) -> str:
        moments = " ".join(f"{moment:.2f}" for moment in self.moments)
        return (
            f"{self.number:>4}  {self.kills:>5}  {moments:<16}  {self.seconds:>7.2f}  {self.again / MIB:>9.2f}"
            f"  {self.allowed / MIB:>11.2f}  {'yes' if self.right else 'NO':>5}  {self.last.code:>4}"
        )


HEADING = "  no  kills  after seconds     seconds  again MiB  allowed MiB  right  code"


class Target:
    """A transfer that can be begun as often as need be, and whose result can be checked."""

    def __init__(self, stage: Stage, size: int) -> None:
        self.stage = stage
        self.size = size

    def renew(self, number: int) -> None:
        """Begin with nothing done."""
        raise NotImplementedError

    def command(self) -> tuple[tuple[object, ...], str]:
        """The command and its access token."""
        raise NotImplementedError

    def moved(self) -> int:
        raise NotImplementedError

    def is_right(self) -> bool:
        raise NotImplementedError


class DownloadTarget(Target):
    """A file that is fetched into an empty folder."""

    def __init__(self, stage: Stage, size: int, *, decrypt: bool) -> None:
        super().__init__(stage, size)
        self.published = stage.publish("kills.bin", size)
        self.token = stage.grant_download(self.published.accession)
        self.folder = stage.folder / "out"
        self.decrypt = decrypt

    def renew(self, number: int) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self) -> tuple[tuple[object, ...], str]:
        flags = ("--decrypt",) if self.decrypt else ()
        return ("download", "--output-dir", self.folder, *flags, *OPTIONS), self.token

    def moved(self) -> int:
        return self.stage.proxy.counts.downloaded

    def is_right(self) -> bool:
        files = list(self.folder.iterdir())
        if len(files) != 1:
            return False
        if not self.decrypt:
            opened = self.stage.folder / "opened"
            shutil.rmtree(opened, ignore_errors=True)
            done = self.stage.run("decrypt", files[0], "--output-dir", opened)
            files = list(opened.iterdir()) if done.code == 0 else []
        return len(files) == 1 and sha256_of(files[0]) == self.published.sha256


class UploadTarget(Target):
    """A file that is sent under a new alias each time."""

    def __init__(self, stage: Stage, size: int) -> None:
        super().__init__(stage, size)
        self.token = stage.archive.grant_upload(stage.keys.public)
        self.path = stage.source("kills.bin", size)
        self.sha256 = sha256_of(self.path)
        self.alias = ""

    def renew(self, number: int) -> None:
        self.alias = f"kills-{number}-{time.monotonic_ns()}"

    def command(self) -> tuple[tuple[object, ...], str]:
        return ("upload", self.path, "--alias", self.alias, *OPTIONS), self.token

    def moved(self) -> int:
        return self.stage.proxy.counts.uploaded

    def is_right(self) -> bool:
        registered = self.stage.registered(self.alias)
        return (registered.sha256, registered.size) == (self.sha256, self.size)


def make_target(stage: Stage, what: str, size: int) -> Target:
    return UploadTarget(stage, size) if what == "upload" else DownloadTarget(stage, size, decrypt=what == "decrypt")


def undisturbed_seconds(target: Target) -> float:
    """How long the transfer takes when it is left alone, from the start of the process to its end."""
    target.renew(0)
    command, token = target.command()
    began = time.monotonic()
    done = target.stage.run(*command, token=token)
    seconds = time.monotonic() - began
    assert done.code == 0, done.err
    assert target.is_right()
    return seconds


def killed_transfers(
    target: Target, kills: int, rng: random.Random, *, speed: float, most: int = 3
) -> Iterator[Killed]:
    """Transfers with one to ``most`` kills each, until there were as many kills as wanted."""
    stage = target.stage
    stage.proxy.faults = Faults(bytes_per_second=speed)
    span = undisturbed_seconds(target)
    left, number = kills, 0
    while left > 0:
        number += 1
        target.renew(number)
        before, began = target.moved(), time.monotonic()
        moments: list[float] = []
        landed = 0
        for _ in range(min(left, rng.randint(1, most))):
            command, token = target.command()
            process = stage.start(*command, token=token)
            moments.append(rng.uniform(0.0, span))
            time.sleep(moments[-1])
            landed += process.poll() is None
            process.kill()
            finish(process)
            if process.returncode != -9:
                break  # it was done before
        command, token = target.command()
        last = stage.run(*command, token=token)
        again = target.moved() - before - sealed_size(target.size)
        yield Killed(number, tuple(moments), landed, time.monotonic() - began, max(again, 0), target.is_right(), last)
        left -= landed


def run(
    what: str, kills: int, size: int, *, seed: int, folder: Path, tell: Callable[[str], None], speed: float = 8e6
) -> list[Killed]:
    """Kill and tell; returns what came of each transfer.

    ``speed`` is in bytes a second and connection: slow enough that a kill falls into the middle.
    """
    with open_stage(folder) as stage:
        target = make_target(stage, what, size)
        stage.calm()
        tell(HEADING)
        all_of_them = []
        for killed in killed_transfers(target, kills, random.Random(seed), speed=speed):
            tell(str(killed) + ("" if killed.good else f"\n{killed.last.err}"))
            all_of_them.append(killed)
    total, again = sum(killed.kills for killed in all_of_them), sum(killed.again for killed in all_of_them)
    bad = sum(not killed.good for killed in all_of_them)
    tell(
        f"{what}: {total} kills in {len(all_of_them)} transfers of {size / MIB:g} MiB, {again / total / MIB:.2f} MiB"
        f" again per kill on average, at most {max(k.again / max(k.kills, 1) for k in all_of_them) / MIB:.2f};"
        f" {CONCURRENCY} parts of {PART_SIZE / MIB:g} MiB in flight; {bad} of the transfers went wrong"
    )
    return all_of_them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("download", "decrypt", "upload"), required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--size", type=int, default=48, metavar="MIB")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the archive's process is ended too
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        killed = run(
            given.what,
            given.kills,
            given.size * MIB,
            seed=given.seed,
            folder=Path(folder) / "stage",
            tell=lambda line: print(line, flush=True),
        )
    return int(not all(one.good for one in killed))


if __name__ == "__main__":
    raise SystemExit(main())
