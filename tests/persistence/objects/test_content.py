from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.objects.content import pieces

pytestmark = pytest.mark.anyio


@given(st.lists(st.binary(max_size=25), max_size=12), st.integers(1, 10))
async def test_a_stream_in_pieces_of_one_size(stream: list[bytes], size: int) -> None:
    async def content() -> AsyncIterator[bytes]:
        for piece in stream:
            yield piece

    views = [view async for view in pieces(content(), size)]
    assert b"".join(views) == b"".join(stream)
    assert {len(view) for view in views[:-1]} <= {size}
    assert all(0 < len(view) <= size for view in views)
