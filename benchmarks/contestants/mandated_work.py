"""What the wire contract asks for of a job, and nothing else: in memory, in one thread, for so many bytes of plaintext.

python -m benchmarks.contestants.mandated_work JOB SIZE

Prints the seconds of wall clock and of processor that the work took, without the start of the program, as JSON. The
same 8 MiB are worked on again and again, which is kinder to the caches than a transfer can be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NONCE, SEGMENT, SEALED = 12, 65_536, 65_564
PART = 128
"""Segments."""
JOBS = {
    "download": ("open", "sha256"),
    "upload": ("sha256", "seal", "digest"),
    "decrypt": ("open",),
    "encrypt": ("seal",),
}
"""The steps of each job: segments opened or sealed (AEAD), the plaintext's sha256, each part's md5 and sha256."""


class Work:
    """The steps, each for the first ``count`` segments of a part."""

    def __init__(self) -> None:
        self._cipher = ChaCha20Poly1305(os.urandom(32))
        self._plain = memoryview(bytearray(os.urandom(PART * SEGMENT)))
        self._sealed = memoryview(bytearray(PART * SEALED))
        self._whole = hashlib.sha256()
        self.seal(PART)

    def seal(self, count: int) -> None:
        nonces = os.urandom(NONCE * count)
        for index in range(count):
            nonce, sealed = nonces[index * NONCE :][:NONCE], self._sealed[index * SEALED :][:SEALED]
            sealed[:NONCE] = nonce
            self._cipher.encrypt_into(nonce, self._plain[index * SEGMENT :][:SEGMENT], None, sealed[NONCE:])

    def open(self, count: int) -> None:
        for index in range(count):
            sealed = self._sealed[index * SEALED :][:SEALED]
            plain = self._plain[index * SEGMENT :][:SEGMENT]
            self._cipher.decrypt_into(sealed[:NONCE], sealed[NONCE:], None, plain)

    def sha256(self, count: int) -> None:
        self._whole.update(self._plain[: count * SEGMENT])

    def digest(self, count: int) -> None:
        part = self._sealed[: count * SEALED]
        hashlib.md5(part, usedforsecurity=False).digest()
        hashlib.sha256(part).digest()


def run(job: str, size: int, cores: int) -> dict[str, float]:
    """Do the work of a job for ``size`` bytes of plaintext, divided among cores and rounded up to whole segments."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores, _begin_together, [context.Barrier(cores)]) as pool:
        shares = pool.starmap(_share, [(job, -(-size // SEGMENT // cores))] * cores, chunksize=1)
    return {"wall": max(share["wall"] for share in shares), "cpu": sum(share["cpu"] for share in shares)}


def _begin_together(barrier: Barrier) -> None:
    barrier.wait(timeout=60)


def _share(job: str, segments: int) -> dict[str, float]:
    work = Work()
    steps: list[Callable[[int], None]] = [getattr(work, step) for step in JOBS[job]]
    wall, cpu = time.perf_counter(), time.process_time()
    for first in range(0, segments, PART):
        for step in steps:
            step(min(PART, segments - first))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("size", type=int)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    print(json.dumps(run(**vars(parser.parse_args()))))
