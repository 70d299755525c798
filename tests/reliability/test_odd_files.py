"""Pipes, devices and nonsense where the program reads files, closed streams and full disks: whole commands.

More of each kind is tried where it is handled: in `tests/local`, `tests/test_config.py` and
`tests/archive/test_config_file.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from connector.local.partial_file import PartialFile
from connector.local.targets import lock_path, working_paths
from tests.reliability.conftest import Scripted
from tests.reliability.test_surroundings import Place, place
from tests.support.chaos_stage import MIB
from tests.support.program import command, environment
from tests.support.small_disk import fill, small_disk_at

__all__ = ["place"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and file systems of Linux")


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zeros], ids=["pipe", "device"])
@pytest.mark.parametrize("what", ["journal", "lock file", "record"])
def test_where_own_files_should_be(scripted: Scripted, make: Callable[[Path], None], what: str) -> None:
    scripted.archive.add_file("GHGAF01", b"x" * 300_000)
    target = scripted.folder / "out" / "GHGAF01.bin.c4gh"
    target.parent.mkdir()
    part, journal = working_paths(target)
    if what == "record":
        assert scripted.download().code == 0
        (path,) = (scripted.folder / "state").rglob("*.finished")
        path.unlink()
        target.unlink()
    else:
        path = journal if what == "journal" else lock_path(target)
        part.write_bytes(b"x")
    make(path)
    os.utime(path, (0, 0), follow_symlinks=False)  # no process has been there lately
    limited = attrs.evolve(scripted.program, runner=("prlimit", f"--as={1000 * MIB}"))
    done = attrs.evolve(scripted, program=limited).program.run(
        "download", "--output-dir", target.parent, timeout=180
    )  # a device never ends
    assert done.code == 0, done.err
    assert target.stat().st_size > 300_000


def test_journals_that_cannot_be_read_hide_no_other(place: Place) -> None:
    PartialFile.open(place.folder / "m", size=4, kind="download", facts={"accession": "M", "size": 4}).close()
    (place.folder / "a.part.journal").mkdir()
    os.mkfifo(place.folder / "z.part.journal")
    code, out, said = place.run("status", "--output-dir", ".")
    assert code == 0, said
    assert "M" in out
    assert "a.part.journal" in said
    # Nor that nothing more may be left.
    code, _, said = place.run("discard", "--all", "--output-dir", ".")
    assert code == 3, said
    assert "M: discarded" in said


def test_records_of_folders_that_cannot_be_read(place: Place) -> None:
    state = place.folder / "state" / "connector"
    state.mkdir(parents=True)
    (state / "outputs").symlink_to("outputs")  # to itself
    for arguments, expected in ((["status"], 0), (["discard", "--all"], 3)):
        code, _, said = place.run(*arguments)
        assert code == expected, said
        assert str(state / "outputs") in said


@pytest.mark.parametrize(
    "text", [f"retries = {'[' * 5000}", 'ca_file = "\\u0000"', 'token_file = "~no-such-user/x"', "/dev/zero"],
    ids=["nested", "NUL", "home", "device"],
)  # fmt: skip
def test_a_configuration(place: Place, text: str) -> None:
    path = Path(text) if text.startswith("/") else place.folder / "settings.toml"
    if path.parent == place.folder:
        path.write_text(text)
    code, _, said = place.encrypt("a", environment={"CONNECTOR_CONFIG": str(path)})
    assert code == 2, said
    assert path.name in said


ARCHIVE = """
[documents]
provider = "mongodb"
uri = "mongodb://127.0.0.1:1/"
[[hubs]]
alias = "HD01"
[hubs.storage]
provider = "s3"
endpoint_url = "http://127.0.0.1:1"
access_key = "us"
inbox = "inbox"
"""


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        (f"keys = {'[' * 5000}", "TOML"),
        (f"public_url = 'http://[::1'\n{ARCHIVE}", "public_url"),
        (ARCHIVE.replace('uri = "', 'uri_file = "\\u0000'), "uri_file"),
        (f'{ARCHIVE}secret_key_file = "~no-such-user/x"', "secret_key_file"),
        ("/dev/zero", "1 MiB"),
    ],
    ids=["nested", "address", "NUL", "home", "device"],
)
def test_a_configuration_of_an_archive(place: Place, text: str, keyword: str) -> None:
    path = Path(text) if text.startswith("/") else place.folder / "archive.toml"
    if path.parent == place.folder:
        path.write_text(text)
    code, _, said = place.run("archive", "keys", "--config", path)
    assert code == 2, said
    assert keyword in said


def test_words_that_a_shell_completes(place: Place) -> None:
    asked = {"_CONNECTOR_COMPLETE": "bash_complete", "COMP_WORDS": "connector archive gr", "COMP_CWORD": "2"}
    code, out, said = place.run(environment=asked)
    assert (code, said) == (0, "")
    assert "plain,grant\n" in out


def test_a_log_of_tls_keys_that_cannot_be_written(scripted: Scripted) -> None:
    said = scripted.download(CONNECTOR_WKVS_URL="https://127.0.0.1:1/wkvs", SSLKEYLOGFILE="/no-folder/keys")
    assert said.code == 3, said.err
    assert "SSLKEYLOGFILE" in said.err
    assert "Trying again" not in said.err


def test_a_passphrase_that_is_no_utf_8(place: Place) -> None:
    phrase = {"CONNECTOR_PASSPHRASE": os.fsdecode(b"\xfc\xe4")}
    code, _, said = place.run("keygen", "--sk", "new.sec", "--pk", "new.pub", environment=phrase)
    assert code == 0, said
    code, _, said = place.run("encrypt", "a", "--recipient-public-key-path", "new.pub")
    assert code == 0, said
    decrypting = ("decrypt", "a.c4gh", "--output-dir", "out", "--my-private-key-path", "new.sec")
    code, _, said = place.run(*decrypting, environment=phrase)
    assert code == 0, said
    assert (place.folder / "out" / "a").read_text() == "a"


@pytest.mark.parametrize("stream", ["0", "1"])
def test_streams_that_are_closed(place: Place, stream: str) -> None:
    direction = "<&-" if stream == "0" else "< a >&-"
    done = subprocess.run(
        ["bash", "-c", f'"$0" "$@" {direction}', *command("encrypt", "-", "--recipient-public-key-path", "my.pub")],
        cwd=place.folder, env=environment(XDG_STATE_HOME=str(place.folder / "state")),
        capture_output=True, text=True, errors="replace", timeout=180,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert ("standard input" if stream == "0" else "standard output") in done.stderr


def test_a_demonstration_on_a_full_disk(tmp_path: Path, place: Place) -> None:
    with small_disk_at(tmp_path / "small", "4m") as small:
        greedy = fill(small)
        os.truncate(greedy, greedy.stat().st_size - 64 * 1024)  # room for keys, but for no archive
        code, _, said = place.run("demo", "--size", "1", environment={"TMPDIR": str(small)})
        assert code == 3, said
        assert "full" in said or "room" in said, said
        assert os.listdir(small) == ["greedy"]
