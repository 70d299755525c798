"""An archive on MongoDB and S3 whose processes and MongoDB primary are killed with -9 at random, while clients work.

Files of 8 to 64 MiB are uploaded by ``connector upload``, deleted and read; then the archive is checked, and every
registered file is downloaded and compared. By hand, with every kill::

    python -m tests.chaos.cluster_kills --uploads 40 --deletes 20 --kills 40
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.chaos.cluster_aftermath import CALM_SECONDS, look_at
from tests.chaos.cluster_clients import Deleter, Reader, Uploads
from tests.chaos.cluster_processes import Processes, open_cluster
from tests.support.command_line import CommandLine

LEAD = 5
"""Uploads that are begun before the first kill. Neither kills nor uploads run ahead, so that kills fall into all."""
PAUSES = (0.5, 3.0)
"""Seconds between two kills."""


@attrs.frozen(kw_only=True)
class Plan:
    """How much of what, in which order."""

    uploads: int
    deletes: int
    kills: int
    seed: int


@attrs.frozen
class Outcome:
    """What became of everything.

    Attributes:
        kills: By what was killed.
        codes: How the commands that uploaded ended, by exit code.
        states: The uploads in the archive by alias, as it lists them.
        wrong: What is not as it should be, a line each.
        compared: How many registered files were downloaded in the end and compared, and how many meanwhile.
        seconds: How long uploads and kills took, until all was done, and until all was compared.
    """

    kills: Counter[str]
    codes: Counter[int]
    states: dict[str, str]
    deleted: set[str]
    wrong: list[str]
    compared: tuple[int, int]
    seconds: tuple[float, float, float]

    def __str__(self) -> str:
        kills = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.kills.items()))
        codes = ", ".join(f"{count} x {code}" for code, count in sorted(self.codes.items()))
        states = ", ".join(f"{count} {state}" for state, count in sorted(Counter(self.states.values()).items()))
        during, calm, compared = self.seconds
        return (
            f"{len(self.states)} uploads ({states}), {len(self.deleted)} of them deleted; exit codes: {codes}\n"
            f"{sum(self.kills.values())} kills ({kills}) in {during:.0f} s, at rest after {calm:.0f} s more\n"
            f"{self.compared[0]} registered files downloaded and compared in {compared:.0f} s,"
            f" and {self.compared[1]} while processes were killed; {len(self.wrong)} wrong"
        )


def run(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Outcome:
    """Upload, delete, read and kill; then look at what is left."""
    rng = random.Random(plan.seed)
    with open_cluster(folder) as (cluster, processes):
        user = CommandLine.of(cluster, folder / "user")
        token = cluster.grant_upload(user.keys.public)
        uploads = Uploads(user, token, plan.uploads, rng)
        over = threading.Event()
        deleter = Deleter(cluster.wkvs_url, token, user.keys.private, plan.deletes, random.Random(plan.seed + 1), over)
        reader = Reader(cluster, user.keys, random.Random(plan.seed + 2), over, uploads.checksum, deleter.deleted)
        began = time.monotonic()
        with uploads.ended(), deleter.running(), reader.running():
            try:
                kills = _kill(plan, rng, processes, uploads, deleter, tell)
            finally:
                over.set()
            during = time.monotonic() - began
            tell(f"{sum(kills.values())} kills in {during:.0f} s; ended by themselves: {processes.ended_by_themselves}")
            processes.restart_all()
            deadline = time.monotonic() + CALM_SECONDS
            while not uploads.done:
                assert time.monotonic() < deadline, f"{uploads.left} uploads are left: {uploads.told_why[-5:]}"
                processes.restart_due()
                uploads.step(plan.uploads)
                time.sleep(0.05)
            tell(f"uploads that were run again: {uploads.told_why}")
        found = look_at(cluster, user, uploads, deleter.deleted, tell)
    wrong = [*deleter.wrong, *reader.wrong, *found.wrong]
    compared, seconds = (found.compared, reader.compared), (during, *found.seconds)
    return Outcome(kills, uploads.codes, found.states, deleter.deleted, wrong, compared, seconds)


def _kill(
    plan: Plan,
    rng: random.Random,
    processes: Processes,
    uploads: Uploads,
    deleter: Deleter,
    tell: Callable[[str], None],
) -> Counter[str]:
    kills: Counter[str] = Counter()
    next_kill = time.monotonic() + 2
    deadline = time.monotonic() + 60 + 30 * max(plan.kills, plan.uploads)
    while (count := sum(kills.values())) < plan.kills or not uploads.done or deleter.done < plan.deletes:
        assert time.monotonic() < deadline, f"{count} kills, {deleter.done} deletes, {uploads.left} uploads are left"
        begun = LEAD + plan.uploads if count >= plan.kills else LEAD + count * plan.uploads // plan.kills
        uploads.step(begun)
        processes.restart_due()
        timely = count * plan.uploads < (uploads.codes[0] + 2 * LEAD) * plan.kills
        if count < plan.kills and timely and time.monotonic() > next_kill:
            victim = processes.kill(rng)
            if victim is not None:
                kills[victim.partition(" ")[0]] += 1
                tell(f"kill {count + 1}: {victim}; {uploads.told}, {deleter.done} deletes")
            next_kill = time.monotonic() + rng.uniform(*PAUSES)
        time.sleep(0.05)
    return kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("uploads", 40), ("deletes", 20), ("kills", 40), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="cluster-kills-") as folder:
        outcome = run(plan, Path(folder), lambda line: print(time.strftime("%X"), line, flush=True))
    print(outcome)
    print("\n".join(outcome.wrong))
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
