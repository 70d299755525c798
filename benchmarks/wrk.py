"""wrk: many requests of one kind on connections that stay open."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import program
from benchmarks.process import Failed


@dataclass(frozen=True)
class Request:
    """One request, again and again.

    ``url`` may hold ``{base}`` for the address of the process that is asked.
    """

    url: str
    token: str = ""
    body: object = None

    def command(self, folder: Path, base: str, *, connections: int, seconds: float) -> list[str]:
        """How to send it."""
        words = [str(program("wrk")), "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s"]
        if self.token:
            words += ["-H", f"Authorization: Bearer {self.token}"]
        if self.body is not None:
            script = folder / f"post-{base.rpartition(':')[2]}.lua"
            content = json.dumps(json.dumps(self.body))
            script.write_text(
                f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = {content}\n'
            )
            words += ["-s", str(script)]
        return [*words, self.url.format(base=base)]


def send(folder: Path, requests: Sequence[tuple[str, Request]], *, connections: int, seconds: float) -> list[int]:
    """Send a request to each of some addresses at once, on so many connections each, for a while; returns how many
    were answered by each.

    Raises :class:`~benchmarks.process.Failed` if any was refused or had no response.
    """
    commands = [request.command(folder, base, connections=connections, seconds=seconds) for base, request in requests]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate(timeout=seconds + 60)[0] for process in running]
    for (_, request), text in zip(requests, said, strict=True):
        if "Non-2xx" in text or "Socket errors" in text:
            raise Failed(f"{request.url}: {text}")
    found = [re.search(r"(\d+) requests in", text) for text in said]
    return [int(match[1]) if match else 0 for match in found]
