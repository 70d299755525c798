"""Downloads that are only counted."""

from __future__ import annotations

import pytest

from tests.download.conftest import Desk

pytestmark = pytest.mark.trio


async def test_an_unverified_download_is_the_same_file_and_says_so(desk: Desk) -> None:
    data = desk.file(3.5)
    async with desk.session() as session:
        (outcome,) = await session.download(output_dir=desk.folder, verify=False)
    assert outcome.unwrap().verified is False
    assert desk.plaintext("GHGAF01.bin.c4gh", decrypt=False) == data


async def test_a_verified_one_says_so(desk: Desk) -> None:
    desk.file(1.5)
    (outcome,) = await desk.download(decrypt=False)
    assert outcome.unwrap().verified is True
