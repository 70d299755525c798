"""Writing where it does not work is no exception, and where it works later, it works."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from connector.cli.console import OutputStream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors as Unix has them")


def test_a_stream_that_is_not_there() -> None:
    stream = OutputStream(None)
    stream.write("x")
    assert stream.failure


def test_a_stream_that_was_closed() -> None:
    closed = io.StringIO()
    closed.close()
    stream = OutputStream(closed)
    stream.write("x")
    assert stream.failure


def test_what_is_no_terminal_has_the_usual_size() -> None:
    usual = OutputStream(None).size()
    assert usual.columns >= 1
    assert OutputStream(io.StringIO()).size() == usual
    with open(os.devnull, "w") as null:
        assert OutputStream(null).size() == usual


def test_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        stream = OutputStream(full)
        before = stream.failure
        stream.write("x\n")
        assert (before, stream.failure) == ("", "No space left on device")
        stream.write("x\n")  # and closing it raises nothing, since Python buffered nothing


def test_a_reader_that_has_gone() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as pipe:
        stream = OutputStream(pipe)
        stream.write("x\n")
    assert stream.failure == "Broken pipe"


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    read: list[bytes] = []

    def slowly() -> None:
        time.sleep(0.2)
        while piece := os.read(ours, 1000):
            read.append(piece)

    reader = threading.Thread(target=slowly)
    reader.start()
    with os.fdopen(theirs, "w") as pipe:
        stream = OutputStream(pipe)
        for number in range(1000):
            stream.write(f"{number:019}\n")
    reader.join(60)
    os.close(ours)
    assert not stream.failure
    assert b"".join(read) == b"".join(b"%019d\n" % number for number in range(1000))


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "\\xfc \\u6f22\n"), ("latin-1", "ü \\u6f22\n")])
def test_what_the_encoding_lacks_is_escaped(tmp_path: Path, encoding: str, shown: str) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding=encoding) as file:
        stream = OutputStream(file)
        stream.write("ü 漢\n")
    assert not stream.failure
    assert path.read_text(encoding=encoding) == shown


def test_on_windows_text_goes_through_the_stream(tmp_path: Path) -> None:
    """A console there takes text, not bytes; whether it is in the foreground is not known."""
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as file:
        stream = OutputStream(file, platform="win32")
        stream.write("a\n\xfc\n")
        assert stream.in_foreground()
    assert not stream.failure
    assert path.read_text() == "a\n\\xfc\n"


def test_a_line_that_was_cut_does_not_damage_the_next(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from connector.cli.console import OutputStream
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        with open(sys.argv[1], "w") as file:
            stream = OutputStream(file)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
            stream.write("a line of more than that\\n")
            stream.write("lost altogether\\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            stream.write("the next\\n")
            stream.write("another\\n")
    """
    path = tmp_path / "out"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), path], check=True)
    assert path.read_text() == "a line of \nthe next\nanother\n"


def test_a_log_that_is_not_read_holds_a_server_up_once() -> None:
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(theirs, "w") as pipe, os.fdopen(ours, "rb", buffering=0) as reader:
        stream = OutputStream(pipe)
        stream.patience = 0.05
        for _ in range(200):
            stream.write("x" * 99 + "\n")
        assert not stream.failure
        taken = reader.read(4096)
        stream.write("here again\n")
        pipe.close()
        lines = (taken + reader.read()).decode().splitlines()
    assert lines[-1] == "here again"
    assert {line for line in lines[:-2] if line} <= {"x" * count for count in range(100)}
    assert int(lines[-2].split()[0]) + lines.count("x" * 99) == 200
