"""The archive of a demonstration, in a process of its own on a free port."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from connector.archive.child_process import apart_from_terminal
from connector.errors import BrokenError, LocalError

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
_ADDRESS = re.compile(r"https?://[\w.\[\]:]+\S*/\.well-known\b")


@attrs.define
class ArchiveProcess:
    """A running archive: the address of its well-known values, and its process."""

    wkvs_url: str
    process: trio.Process


@asynccontextmanager
async def serving(root: Path, log: Path, *, timeout: float = START_TIMEOUT) -> AsyncIterator[ArchiveProcess]:
    """Serve an archive below `root` as long as the block runs; its output goes to `log`.

    `timeout`: seconds after which it should have started.

    Raises:
        BrokenError: With the last line of its output if it does not start.
        LocalError: The same, if this machine is the cause.
    """
    command = [sys.executable, "-m", "connector", "archive", "serve", "--root", str(root), "--port", "0"]
    command += ["--retry-after", "1"]
    with log.open("wb") as output:
        # Apart from the terminal: Ctrl-C in it stops the demonstration, which then stops the archive.
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **apart_from_terminal()
        )
    try:
        yield ArchiveProcess(await _address(process, log, timeout), process)
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)


async def _address(process: trio.Process, log: Path, timeout: float) -> str:
    deadline = trio.current_time() + timeout
    while trio.current_time() < deadline:
        output_text = await trio.Path(log).read_text(errors="replace")
        address = _ADDRESS.search(output_text)
        if address is not None and output_text.endswith("\n"):
            return address[0]
        if process.poll() is not None:
            lines = output_text.strip().splitlines()
            last = lines[-1].removeprefix("Error: ").rstrip(".") if lines else "it printed nothing"
            failure = LocalError if process.returncode == LocalError.exit_code else BrokenError
            raise failure(f"The archive did not start: {last}.")
        await trio.sleep(0.02)
    raise BrokenError(f"The archive did not start within {timeout:.0f} seconds.")


async def _stop(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(STOP_TIMEOUT):
        await process.wait()
        return
    process.kill()
    await process.wait()
