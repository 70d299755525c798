"""Server processes: free ports, waiting until they answer, terminating them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

_GRACE: Final = 10.0


class ServerFailed(Exception):
    """A server for tests could not be started; the message ends with the last lines of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports; `ServerFailed` if none are found."""
    for _ in range(100):
        first = free_port()
        try:
            with contextlib.ExitStack() as stack:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
                return first
        except OSError:
            continue
    raise ServerFailed(f"There are no {count} free ports in a row.")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that writes to a log; at the end of the block it is terminated, after 10 s killed."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=None if env is None else dict(env),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until a server answers.

    Args:
        answers: whether the server is ready; called every 50 ms.
        process: the server.
        log: quoted in the error.
        seconds: deadline.

    Raises:
        ServerFailed: the process exited, or did not answer within the deadline.
    """
    until = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise ServerFailed(f"{process.args!r} ended with {process.returncode}.\n{tail(log)}")
        if answers():
            return
        if time.monotonic() > until:
            raise ServerFailed(f"{process.args!r} did not answer within {seconds} s.\n{tail(log)}")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """Whether a server accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def find_program(name: str, distribution: str = "") -> Path | None:
    """The path of a program: in an installed wheel, beside the interpreter, or on PATH; None if it is nowhere."""
    if distribution:
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(distribution) or ():
                if file.name in (name, f"{name}.exe"):
                    return Path(str(file.locate())).resolve()
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.is_file():
        return beside
    found = shutil.which(name)
    return None if found is None else Path(found)
