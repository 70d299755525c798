"""Downloads that are only counted, and which files are left to do."""

from __future__ import annotations

import pytest

from connector.download.job import DownloadRequest

pytestmark = pytest.mark.trio


async def test_an_unverified_download_is_the_same_file_and_says_so(desk):
    data = desk.file(3.5)
    async with desk.session() as session:
        (outcome,) = await session.download(output_dir=desk.folder, verify=False)
    assert outcome.unwrap().verified is False
    assert desk.plaintext("GHGAF01.bin.c4gh", decrypt=False) == data


async def test_a_verified_one_says_so(desk):
    desk.file(1.5)
    (outcome,) = await desk.download(decrypt=False)
    assert outcome.unwrap().verified is True


@pytest.mark.parametrize(("accession", "there"), [("F1", True), ("F2", False), ("../F1", False)])
async def test_what_has_its_final_name_is_there(tmp_path, accession, there):
    (tmp_path / "F1.bin.c4gh").write_bytes(b"x")
    assert DownloadRequest(accession, ".bin", tmp_path, decrypt=False, overwrite=False).is_there() is there
