"""Machines that are set up differently: no fault of theirs is called a bug, and what can be done is done."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from connector.cli.console import neutralised
from connector.cli.root import LazyGroup, cli
from connector.errors import LocalError
from connector.local.key_files import write_key_pair
from connector.local.partial_file import PartialFile
from connector.local.targets import check_space, lock_path, working_paths
from tests.reliability.conftest import Scripted
from tests.support.desk import Desk
from tests.support.program import NAMED, PYTHON, Program, command, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, users and file systems of Linux")

MIB = 1024**2


class Place:
    """A folder that any user may write to, with a key pair and files, in which commands run as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_key_pair(folder / "my.sec", folder / "my.pub", passphrase=None)
        for name in ("a", "b", "c"):
            (folder / name).write_text(name)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o777 if path.is_dir() else 0o666)

    def run(
        self,
        *arguments: object,
        environment: Mapping[str, str] = {},
        program: Sequence[str] = tuple(command()),
        **options: Any,
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        inherited = ("PATH", "LANG") if NAMED else ("PATH", "PYTHONPATH", "LANG")
        done = subprocess.run(
            [*program, *map(str, arguments)],
            cwd=self.folder,
            env={name: os.environ[name] for name in inherited if name in os.environ}
            | {"CONNECTOR_CONFIG": os.devnull, "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec"}
            | {"XDG_STATE_HOME": str(self.folder / "state"), "PYTHONDONTWRITEBYTECODE": "1"}
            | dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=180,
            **options,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert "bug in connector" not in said, said
        return done.returncode, done.stdout, done.stderr

    def encrypt(self, *files: object, **options: Any) -> tuple[int, str, str]:
        return self.run("encrypt", *files, "--recipient-public-key-path", "my.pub", **options)


@pytest.fixture
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="surroundings-", dir="/tmp"))  # pytest's own folders are for one user
    yield Place(folder)
    shutil.rmtree(folder, ignore_errors=True)


UNKNOWN_USER = """
import pwd, sys
def missing(uid): raise KeyError(uid)
pwd.getpwuid = missing
from connector.cli import main
main()
"""
"""What the program sees where there is no entry in the password file."""
unknown_user = {"program": (PYTHON, "-c", UNKNOWN_USER)}
_CAPABILITIES = "-dac_override,-dac_read_search"
powerless: dict[str, Any] = (
    {}
    if os.geteuid()
    else {
        "program": (
            *("setpriv", f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}"),
            *command(),
        )
    }
)
"""Options of a process for which permissions count, also those of root."""
needs_permissions = pytest.mark.skipif(not (os.geteuid() or shutil.which("setpriv")), reason="root may do everything")


def test_no_home_and_no_entry_in_the_password_file(place: Place) -> None:
    nothing = {"XDG_STATE_HOME": "", "CONNECTOR_CONFIG": ""}
    code, _, said = place.encrypt("a", environment=nothing, **unknown_user)
    assert code == 0, said
    assert (place.folder / "a.c4gh").exists()
    assert not (place.folder / "~").exists()
    code, _, said = place.encrypt("a", environment={"CONNECTOR_CONFIG": "~/x"}, **unknown_user)
    assert code == 2
    assert "HOME" in said
    code, _, said = place.run("status", environment=nothing, **unknown_user)
    assert code == 0, said


@needs_permissions
def test_one_unreadable_file_among_many(place: Place) -> None:
    (place.folder / "b").chmod(0)
    code, _, said = place.encrypt("a", "b", "c", **powerless)
    assert code == 3
    assert "b: Permission denied" in said
    assert sorted(path.name for path in place.folder.glob("*.c4gh")) == ["a.c4gh", "c.c4gh"]
    (place.folder / "a.c4gh").chmod(0)
    code, _, said = place.run("decrypt", "--input-dir", ".", "--output-dir", "out", **powerless)
    assert code == 3
    assert os.listdir(place.folder / "out") == ["c"]


@needs_permissions
def test_a_state_folder_that_cannot_be_written_costs_no_local_file(place: Place) -> None:
    (place.folder / "state").mkdir(mode=0o555)
    code, _, said = place.encrypt("a", **powerless)
    assert code == 0, said


def limited(**limits: int) -> Callable[[], None]:
    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return limit


@pytest.mark.parametrize("megabytes", [220, 300, 400, 600])
def test_an_address_space_that_is_too_small(place: Place, megabytes: int) -> None:
    code, _, said = place.encrypt("a", preexec_fn=limited(AS=megabytes * MIB))
    assert code in (0, 3), said
    assert (place.folder / "a.c4gh").exists() == (code == 0)


@pytest.mark.parametrize("files", [6, 9, 12, 20])
def test_too_few_descriptors(place: Place, files: int) -> None:
    code, _, said = place.encrypt("a", preexec_fn=limited(NOFILE=files))
    assert code in (0, 3), said
    assert code == 0 or "ulimit -n" in said
    assert (place.folder / "a.c4gh").exists() == (code == 0)


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_names_outside_the_encoding_of_the_output(place: Place, environment: Mapping[str, str]) -> None:
    for name in ("ü", "漢", "\udcff"):
        (place.folder / name).write_text("x")
    code, out, said = place.encrypt(
        "ü", "漢", b"\xff".decode("utf-8", "surrogateescape"), "--json", environment=environment
    )
    assert code == 0, said
    assert out.count('"ok": true') == 3
    assert "3 of 3 files encrypted" in said


def test_names_outside_the_encoding_of_file_names(place: Place) -> None:
    (place.folder / "list").write_text("漢\tx\n", encoding="utf-8")
    token = "x:" + "A" * 80
    code, _, said = place.run(
        "upload", "--tsv", "list", "--wkvs-url", "http://127.0.0.1:1/x", "--retries", "0",
        environment={**ASCII, "CONNECTOR_ACCESS_TOKEN": token},
    )  # fmt: skip
    assert code in (3, 4, 5), said


def test_inputs_that_can_be_read_only_once(place: Place) -> None:
    """Keys, settings and lists; of the data itself it is said that pipes are read as `-`."""
    script = (
        'set -e; "$0" "$@" encrypt a --recipient-public-key-path <(cat my.pub)'
        " --my-private-key-path <(cat my.sec) --config <(echo 'part_size = \"1MiB\"');"
        ' "$0" "$@" decrypt a.c4gh --my-private-key-path <(cat my.sec) --output-dir out;'
        ' "$0" "$@" encrypt <(echo x) --recipient-public-key-path my.pub --output-dir out'
    )
    done = subprocess.run(
        ["bash", "-c", script, *command()],
        cwd=place.folder, env=environment(XDG_STATE_HOME=str(place.folder / "state")),
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "only once" in done.stderr
    assert "- < PIPE" in done.stderr
    assert (place.folder / "out" / "a").read_text() == "a"


def test_a_name_that_leaves_no_room_for_working_names(place: Place) -> None:
    for letter, count in (("n", 250), ("ü", 125)):
        name = letter * count
        (place.folder / name).write_text("x")
        code, _, said = place.run("encrypt", "a", "--recipient-public-key-path", "my.pub", "--overwrite")
        assert code == 0, said
        os.rename(place.folder / "a.c4gh", place.folder / f"{name}.c4gh")
        (place.folder / name).unlink()
        code, _, said = place.run("decrypt", f"{name}.c4gh")
        assert code == 0, said
        assert (place.folder / name).read_text() == "a"
    code, _, said = place.encrypt("x" * 253)
    assert code == 3


def test_working_names_fit_and_differ(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    names = ["n" * longest, "n" * (longest - 1) + "m", "ü" * (longest // 2), "x"]
    found = [path for name in names for path in (*working_paths(tmp_path / name), lock_path(tmp_path / name))]
    assert len(set(found)) == 3 * len(names)
    for path in found:
        path.with_name(f"{path.name}{'' if path.suffix != '.lock' else '.12345678'}").touch()
    assert working_paths(tmp_path / "x")[0] == tmp_path / "x.part"
    # Whoever finds a working file, as `discard` does, comes to the same names from there.
    for path in found[0::3]:
        assert working_paths(path.with_name(path.name.removesuffix(".part")))[0] == path


def test_a_name_that_is_too_long_fails_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="too long"):
        PartialFile.open(tmp_path / ("n" * 300), size=1, kind="download", facts={})
    assert os.listdir(tmp_path) == []


POOR_FILE_SYSTEM = """
import errno, os
def refused(*arguments): raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
os.fsync = os.fdatasync = os.statvfs = os.posix_fallocate = refused
from connector.cli import main
main()
"""
"""As file systems in user space and some on networks answer."""


def test_file_systems_that_cannot_sync_or_tell_their_free_space(place: Place) -> None:
    poor: dict[str, Any] = {"program": (PYTHON, "-c", POOR_FILE_SYSTEM)}
    code, _, said = place.encrypt("a", **poor)
    assert code == 0, said
    code, _, said = place.run("decrypt", "a.c4gh", "--output-dir", "out", **poor)
    assert code == 0, said
    assert (place.folder / "out" / "a").read_text() == "a"
    assert shutil.disk_usage("/proc").total == 0
    check_space(Path("/proc/x"), 1 << 60)


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from walk((*path, name), found)
        else:
            yield path, command

    assert isinstance(cli, LazyGroup)
    yield from walk((), cli)


ESCAPE = "\x1b]0;title\x07\x9b31m\u202e"


def test_variables_under_our_prefix_that_something_else_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each is named by the error, and its value does nothing to the terminal."""
    monkeypatch.chdir(tmp_path)
    tried = 0
    for path, found in commands():
        if path[0] in ("demo", "archive"):
            continue
        for parameter in found.params:
            if not isinstance(parameter, click.Option) or not isinstance(parameter.envvar, str):
                continue
            tried += 1
            value = f"junk{ESCAPE}"
            arguments = [str(tmp_path / "x")] if path[0] in ("encrypt", "decrypt") else []
            desk = Desk(environment={parameter.envvar: value, "CONNECTOR_ACCESS_TOKEN": "x"})
            with monkeypatch.context() as patch:
                patch.setenv(parameter.envvar, value)
                code = desk.run(*path, *arguments)
            said = desk.out.getvalue() + desk.said
            assert code != 1, (path, parameter.envvar, said)
            assert said == "\n".join(map(neutralised, said.split("\n")))
    assert tried > 100


def test_the_variables_of_a_kubernetes_service_called_connector(place: Place) -> None:
    """It sets CONNECTOR_PORT to a URL, in every container of the namespace."""
    process = subprocess.Popen(
        command("archive", "serve", "--root", "arch"), cwd=place.folder,
        env=environment(CONNECTOR_PORT="tcp://10.0.0.1:80", CONNECTOR_SERVICE_PORT="80"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=180)
    assert line.startswith("Archive ready") or "in use" in said, said


@pytest.mark.parametrize(
    "arguments",
    [
        [f"frob{ESCAPE}"],
        ["encrypt", f"--frob{ESCAPE}"],
        ["encrypt", f"x{ESCAPE}", "--recipient-public-key-path", f"k{ESCAPE}"],
        ["decrypt", f"x{ESCAPE}"],
        ["decrypt", f"x{ESCAPE}.c4gh", "--my-private-key-path", f"k{ESCAPE}"],
        ["decrypt", "x.c4gh", "--part-size", f"1{ESCAPE}"],
        ["decrypt", "x.c4gh", "--config", f"c{ESCAPE}"],
        ["decrypt", "x.c4gh", "--until", f"1{ESCAPE}"],
        ["decrypt", "x.c4gh", "--input-dir", f"d{ESCAPE}"],
        ["upload", "x", "--alias", f"a{ESCAPE}"],
        ["upload", "--tsv", f"t{ESCAPE}"],
        ["download", f"GHGAF{ESCAPE}", "--output-dir", f"o{ESCAPE}"],
        ["ls", "--wkvs-url", f"http://h{ESCAPE}/"],
        ["ls", "--wkvs-url", "http://127.0.0.1:1/", "--proxy", f"http://p{ESCAPE}"],
        ["discard", f"x{ESCAPE}"],
        ["rm", f"x{ESCAPE}"],
        ["keygen", "--sk", f"no/{ESCAPE}", "--pk", f"no/{ESCAPE}", "--nocrypt"],
        ["archive", "files", "--root", f"r{ESCAPE}"],
        ["archive", "grant", "upload", "--root", f"r{ESCAPE}", "--public-key", f"k{ESCAPE}"],
    ],
    ids=lambda arguments: arguments[0].partition("\x1b")[0],
)
def test_control_characters_never_reach_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase=None)
    settings = {
        "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
        "CONNECTOR_ACCESS_TOKEN": "x:" + "A" * 80,
        "CONNECTOR_RETRIES": "0",
    }
    if NAMED:
        done = Program(tmp_path, settings).run(*arguments)
        code, said = done.code, done.out + done.err
    else:
        desk = Desk(environment=settings)
        code = desk.run(*arguments)
        printed = capfd.readouterr()
        said = desk.out.getvalue() + desk.said + printed.out + printed.err
    assert code not in (0, 1), said
    assert said
    assert said == "\n".join(map(neutralised, said.split("\n")))


ACCESS = {
    "CONNECTOR_MY_PRIVATE_KEY_PATH": "my.sec",
    "CONNECTOR_ACCESS_TOKEN": "x:" + "A" * 80,
    "CONNECTOR_RETRIES": "5",
}


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that takes connections and says nothing; the working folder has a key pair."""
    monkeypatch.chdir(tmp_path)
    write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase=None)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_ca_file_that_is_a_folder_is_no_fault_of_the_network(listener: str) -> None:
    os.mkdir("certificates")
    for path, code in (("certificates", 3), ("nothing.pem", 3), ("my.pub", 2)):
        desk = Desk(environment=ACCESS)
        assert desk.run("ls", "--wkvs-url", f"https://{listener}/x", "--ca-file", path) == code, desk.said
        assert path in desk.said
        assert "Trying again" not in desk.said


def test_a_log_of_tls_keys_that_cannot_be_written(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("no-folder/x", "/"):
        monkeypatch.setenv("SSLKEYLOGFILE", path)
        desk = Desk(environment=ACCESS)
        assert desk.run("ls", "--wkvs-url", f"https://{listener}/x") == 3, desk.said
        assert "SSLKEYLOGFILE" in desk.said
        assert "Trying again" not in desk.said


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1", "ftp://127.0.0.1:1", "http://[::1"])
def test_a_proxy_of_a_kind_that_is_not_supported(listener: str, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    desk = Desk(environment=ACCESS)
    assert desk.run("ls", "--wkvs-url", f"http://{listener}/x") == 2, desk.said
    assert "proxy" in desk.said
    assert "Trying again" not in desk.said


def test_a_state_folder_that_cannot_be_written_is_told_with_the_variable_that_moves_it(scripted: Scripted) -> None:
    (scripted.folder / "x").write_bytes(b"x")
    said = scripted.upload("x", XDG_STATE_HOME=os.devnull)
    assert said.code == 3, said.err
    assert "XDG_STATE_HOME" in said.err
    scripted.archive.add_file("GHGAF01", b"x")
    said = scripted.download(XDG_STATE_HOME=os.devnull)
    assert said.code == 0, said.err
