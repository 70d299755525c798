"""What the arithmetic of a transfer costs in memory alone, with our own routines and no network or disk.

``send``: sha256 of the plaintext in order, and beside it, in two threads, sealing, md5 and sha256 of each part.
``open``: opening parts in two threads. ``sha256``: of the plaintext alone, in one thread, as the order demands.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

from connector.core.layout import CIPHER_SEGMENT_SIZE, Part
from connector.core.segments import Opener, PartSealer, SealedLayout

PART = 256 * CIPHER_SEGMENT_SIZE
THREADS = 2


def send(total: int) -> None:
    key, seed = os.urandom(32), os.urandom(32)
    plain_part = 256 * 65536
    layout = SealedLayout(b"", total)
    sealer = PartSealer(layout, session_key=key, nonce_seed=seed, draw=os.urandom)
    block = memoryview(os.urandom(plain_part))
    whole = hashlib.sha256()
    buffers = [memoryview(bytearray(PART)) for _ in range(THREADS + 1)]

    def read(_: int, views: list[memoryview]) -> None:
        position = 0
        for view in views:
            view[:] = block[position : position + len(view)]
            position += len(view)

    def seal(loaded: object) -> None:
        sealed = loaded.seal()  # type: ignore[attr-defined]
        hashlib.md5(sealed)
        hashlib.sha256(sealed)

    with ThreadPoolExecutor(THREADS) as threads:
        pending: list[Future[None] | None] = [None] * len(buffers)
        for number in range(-(-total // plain_part)):
            slot = number % len(buffers)
            if (before := pending[slot]) is not None:
                before.result()
            plain = min(plain_part, total - number * plain_part)
            size = plain + -(-plain // 65536) * 28
            part = Part(number + 1, number * PART, number * PART + size)
            loaded = sealer.load(part, buffers[slot][:size], read)  # type: ignore[arg-type]
            for view in loaded.plaintext:
                whole.update(view)
            pending[slot] = threads.submit(seal, loaded)


def open_parts(total: int) -> None:
    key = os.urandom(32)
    sealer = PartSealer(SealedLayout(b"", 256 * 65536), session_key=key, nonce_seed=bytes(32), draw=os.urandom)
    sealed = memoryview(bytearray(PART))
    sealer.load(Part(1, 0, PART), sealed, lambda _, views: None).seal()
    opener = Opener([key])

    def work(count: int) -> None:
        buffer = memoryview(bytearray(PART))
        for _ in range(count):
            buffer[:] = sealed  # a body would arrive here
            opener.open_part(buffer)

    parts = -(-total // (256 * 65536))
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, [parts // 2, parts - parts // 2]))


def sha256(total: int) -> None:
    block = memoryview(bytearray(256 * 65536))
    digest = hashlib.sha256()
    for start in range(0, total, len(block)):
        digest.update(block[: total - start])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["send", "open", "sha256"])
    parser.add_argument("size", type=int)
    arguments = parser.parse_args()
    {"send": send, "open": open_parts, "sha256": sha256}[arguments.what](arguments.size)
