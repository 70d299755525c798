"""The contest: `python -m benchmarks.persistence [--rounds N]`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.persistence.peer import hexkit_python
from persistence.providers.s3.settings import S3Settings, make_client
from persistence.testing.servers import run_juicefs, run_mongod

HERE = Path(__file__).parent
OPERATIONS = {"insert": 1000, "get_by_id": 2000, "find_one": 2000, "find_all": 10_000}
CALLERS = (1, 32)
WANTED = {"asyncio": 1.2, "trio": 0.9}


def rate(*command: str | Path) -> float:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return float(json.loads(done.stdout))


def contest(uri: str, hexkit: Path, rounds: int) -> bool:
    ours = (sys.executable, HERE / "ours.py")
    rate(*ours, "asyncio", "dao", uri, "bench", "prepare", "1", "0")
    good = True
    print("| operation | callers | hexkit /s | asyncio /s | trio /s | asyncio ratio | trio ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for operation, count in OPERATIONS.items():
        for callers in CALLERS:
            tail = ("dao", uri, "bench", operation, str(callers), str(count))
            found: dict[str, list[float]] = {"hexkit": [], "asyncio": [], "trio": []}
            for _ in range(rounds):
                found["hexkit"].append(rate(hexkit, HERE / "theirs.py", *tail))
                for backend in WANTED:
                    found[backend].append(rate(*ours, backend, *tail))
            middle = {name: statistics.median(rates) for name, rates in found.items()}
            ratios = {
                name: statistics.median(a / b for a, b in zip(found[name], found["hexkit"], strict=True))
                for name in WANTED
            }
            good &= all(ratios[name] >= WANTED[name] for name in WANTED)
            cells = [f"{middle[name]:.0f}" for name in ("hexkit", "asyncio", "trio")]
            marks = [f"{ratios[name]:.2f}{'' if ratios[name] >= WANTED[name] else ' (short)'}" for name in WANTED]
            print(f"| {operation} | {callers} | {' | '.join(cells)} | {' | '.join(marks)} |", flush=True)
    return good


def url_contest(folder: Path, hexkit: Path) -> bool:
    with run_juicefs(folder) as endpoint:
        settings = S3Settings(endpoint.url, endpoint.access_key, endpoint.secret_key)
        client: Any = make_client(settings)
        client.create_bucket(Bucket="bench")
        tail = ("urls", endpoint.url, endpoint.access_key, endpoint.secret_key, "bench", "10000")
        theirs = rate(hexkit, HERE / "theirs.py", *tail)
        found = {backend: rate(sys.executable, HERE / "ours.py", backend, *tail) for backend in WANTED}
    for backend, value in found.items():
        print(f"10,000 part URLs, {backend}: {value:.0f}/s, hexkit {theirs:.0f}/s, ratio {value / theirs:.1f}")
    return min(found.values()) >= 5 * theirs


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.persistence", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-urls", action="store_true")
    arguments = parser.parse_args()
    hexkit = hexkit_python()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        with run_mongod(Path(folder) / "mongod") as uri:
            good = contest(uri, hexkit, arguments.rounds)
        if not arguments.no_urls:
            good &= url_contest(Path(folder) / "juicefs", hexkit)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
