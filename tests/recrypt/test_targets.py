from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import LocalError, UsageError
from connector.local.disk import ready_folder
from connector.recrypt import RecryptRequest as Request
from connector.recrypt.request import decrypt_targets, encrypt_targets


def test_results_lie_beside_their_sources_or_in_the_folder_named() -> None:
    a, b = Path("x/a.bam.c4gh"), Path("y/b.c4gh")
    assert decrypt_targets([a, b], None, None) == [Request(a, Path("x/a.bam")), Request(b, Path("y/b"))]
    assert decrypt_targets([a, b], None, Path("out")) == [Request(a, Path("out/a.bam")), Request(b, Path("out/b"))]
    assert encrypt_targets([a], Path("out")) == [Request(a, Path("out/a.bam.c4gh.c4gh"))]


def test_a_folder_gives_its_encrypted_files(tmp_path: Path) -> None:
    for name in ("b.c4gh", "a.c4gh", "plain.bam", "b.c4gh.part"):
        (tmp_path / name).touch()
    (tmp_path / "folder.c4gh").mkdir()
    assert decrypt_targets([], tmp_path, None) == [
        Request(tmp_path / "a.c4gh", tmp_path / "a"),
        Request(tmp_path / "b.c4gh", tmp_path / "b"),
    ]
    assert decrypt_targets([Path("b.c4gh")], tmp_path, Path("out")) == [Request(tmp_path / "b.c4gh", Path("out/b"))]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "nothing to decrypt"),
        ([Path("x/a.c4gh"), Path("y/a.c4gh")], "would both become"),
        ([Path("a.c4gh"), Path("a.c4gh")], "would both become"),
    ],
)
def test_what_cannot_be_decrypted(files: list[Path], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        decrypt_targets(files, None, Path("out"))


@pytest.mark.parametrize("name", ["a.bam", ".c4gh", "/"])
def test_a_file_with_another_ending_fails_alone(name: str) -> None:
    wrong, right = decrypt_targets([Path(name), Path("a.bam.c4gh")], None, None)
    assert (wrong.error is None, right) == (False, Request(Path("a.bam.c4gh"), Path("a.bam")))


def test_folders_that_are_empty_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \.c4gh files"):
        decrypt_targets([], tmp_path, None)
    with pytest.raises(LocalError):
        decrypt_targets([], tmp_path / "none", None)


def test_two_files_cannot_become_one() -> None:
    with pytest.raises(UsageError, match="would both become"):
        encrypt_targets([Path("x/a"), Path("y/a")], Path("out"))


def test_a_folder_named_in_two_ways_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for one, other in (("a", tmp_path / "a"), ("real/a", "link/a"), ("a", "real/../a")):
        with pytest.raises(UsageError, match="would both become"):
            encrypt_targets([Path(one), Path(other)], None)


def test_no_file_is_read_and_written_by_one_command() -> None:
    """As `encrypt *` would do when it is run again."""
    with pytest.raises(UsageError, match="would become it"):
        encrypt_targets([Path("a"), Path("a.c4gh")], None)
    with pytest.raises(UsageError, match="would become it"):
        decrypt_targets([Path("a.c4gh"), Path("a.c4gh.c4gh")], None, None)
    assert len(encrypt_targets([Path("a"), Path("a.c4gh")], Path("out"))) == 2


def test_the_output_folder_is_made(tmp_path: Path) -> None:
    ready_folder(tmp_path / "a" / "b")
    ready_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file"):
        ready_folder(tmp_path / "file")


@pytest.mark.parametrize("ending", [".part", ".part.journal", ".part.lock"])
def test_no_result_has_the_name_of_a_file_that_another_one_is_written_by(ending: str) -> None:
    names = [Path("x/a.c4gh"), Path(f"y/a{ending}.c4gh")]
    with pytest.raises(UsageError, match="written for"):
        decrypt_targets(names, None, Path("out"))
    assert len(decrypt_targets(names, None, None)) == 2
