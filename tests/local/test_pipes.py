"""Reading a pipe in pieces, as each system does it."""

from __future__ import annotations

import os

import pytest

from connector.local.pipes import PipeReader


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_a_view_is_filled_from_several_writes_and_up_to_the_end(platform: str) -> None:
    reader, writer = os.pipe()
    try:
        pipe = PipeReader(reader, platform=platform)
        os.write(writer, b"abcdef")
        view = memoryview(bytearray(4))
        assert (pipe.fill(view), bytes(view)) == (4, b"abcd")
        os.write(writer, b"g")
        os.close(writer)
        assert (pipe.fill(view), bytes(view[:3])) == (3, b"efg")
        assert pipe.fill(view) == 0
    finally:
        os.close(reader)
