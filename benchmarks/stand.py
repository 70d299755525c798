"""What a scenario stands on: a folder, keys, sources, and the commands of the two connectors."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.data import Keys, make_random_file
from benchmarks.leftovers import put_away
from benchmarks.peers import ours, program
from benchmarks.process import Server, Usage, run
from benchmarks.warm_memory import WarmMemory

ROOT = Path(__file__).resolve().parent.parent
Curve = list[tuple[float, float]]
_FOR_ITSELF = 512 << 20


@dataclass(frozen=True)
class Options:
    """What the command line chose: bytes, rounds, and where everything is written."""

    size: int
    rounds: int
    folder: Path
    large: bool = False
    files: int = 200
    file_size: int = 256 << 10
    memory: WarmMemory | None = None

    def room(self, times: int = 1) -> Callable[[], None]:
        """For :func:`~benchmarks.contest.compete`: gives each contestant the memory for three times what it moves
        (``times`` the size of the large file), and some for itself."""
        memory, size = self.memory, 3 * times * self.size + _FOR_ITSELF
        return (lambda: None) if memory is None else lambda: memory.offer(size)


@dataclass
class Stand:
    """A folder of its own below the options' folder; its bytes are given back when the ``with`` block ends."""

    options: Options
    name: str
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self.folder = self.options.folder / self.name
        self.put_away(self.folder)
        self.folder.mkdir(parents=True)
        self.stack.callback(self.put_away, self.folder)
        self.keys = Keys(self.folder)
        self.ca_file: Path | None = None
        return self

    def __exit__(self, *details: object) -> None:
        self.stack.close()

    def source(self, name: str, size: int, make: Callable[[Path, int], str] | None = None) -> tuple[Path, str]:
        """A file and its sha256; random, or as ``make`` makes it."""
        path = self.folder / "sources" / name
        path.parent.mkdir(exist_ok=True)
        return path, (make or make_random_file)(path, size)

    def certificate(self) -> Path:
        """A certificate for 127.0.0.1 with its key; sets ``ca_file`` to the authority that made it."""
        folder = self.folder / "tls"
        folder.mkdir(exist_ok=True)
        run([sys.executable, "-m", "trustme", "-q", "-i", "127.0.0.1", "localhost", "-d", folder])
        both = folder / "both.pem"
        both.write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
        self.ca_file = folder / "client.pem"
        return both

    def empty(self, name: str) -> Path:
        """An empty folder, whatever was in it before."""
        folder = self.folder / name
        self.put_away(folder)
        folder.mkdir()
        return folder

    def put_away(self, folder: Path) -> None:
        """Have done with a folder, if there is such a one."""
        put_away(folder, self.options.folder / "leftovers")

    # Commands -------------------------------------------------------------------------------------------------------

    def ours(
        self,
        command: str,
        wkvs_url: str,
        token: str,
        *arguments: str | Path,
        written: Curve | None = None,
    ) -> Usage:
        """Run ``connector download`` or ``connector upload``; ``written`` as in :func:`~benchmarks.process.run`."""
        token_file = self.folder / "token"
        token_file.write_text(token)
        words = [ours(), command, "--wkvs-url", wkvs_url, "--token-file", token_file, "--quiet", *arguments]
        words += ["--my-private-key-path", self.keys.private, "--my-public-key-path", self.keys.public]
        if self.ca_file is not None:
            words += ["--ca-file", self.ca_file]
        # What earlier runs have noted is of no use to this one.
        return run(words, written=written, env={"XDG_STATE_HOME": str(self.empty("state"))})

    def peer(self, command: str, wkvs_url: str, token: str, *arguments: str | Path, part_size: int = 0) -> Usage:
        """Run ``ghga-connector download`` or ``batch-upload``; the token goes in where it asks for it."""
        env = {"GHGA_CONNECTOR_WKVS_API_URL": wkvs_url}
        if part_size:
            env["GHGA_CONNECTOR_PART_SIZE"] = str(part_size)
        words = [program("ghga-connector"), command, *arguments]
        words += ["--my-private-key-path", self.keys.private, "--my-public-key-path", self.keys.public]
        return run(words, env=env, stdin=token)

    def tsv(self, sources: Sequence[Path]) -> Path:
        """A list of files to upload, as both connectors read it."""
        path = self.folder / "files.tsv"
        path.write_text("".join(f"{source}\t{source.name}\n" for source in sources))
        return path


def proxy(log: Path, port: int, upstream: int, *options: str) -> Server:
    """A proxy in front of everything that makes the way longer or narrower, with the fault proxy's options."""
    command = [sys.executable, "-m", "tests.support.fault_proxy", "--upstream", f"127.0.0.1:{upstream}"]
    server = Server([*command, "--port", str(port), *options], log=log, env={"PYTHONPATH": str(ROOT)})
    server.wait_for_port(port)
    return server
