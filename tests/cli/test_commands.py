"""What the transfer commands make of words, files and environment; the session behind them is a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector.config import Settings
from connector.crypt4gh.keys import KeyPair, open_header
from connector.errors import BrokenError, ConnectorError, RefusedError
from connector.local.key_files import write_key_pair
from connector.transfer.reporting import Observer, Outcome
from connector.upload.journals import UploadSource
from connector.upload.listing import UnfinishedUpload
from tests.support.desk import Desk, ScriptedInput

TOKEN = "package-1:" + "Ab0/" * 20

NO_STATE = Path("/no/state")


@attrs.frozen
class Fetched:
    path: Path
    size: int


@attrs.define
class FakeSession:
    """Notes what is asked of it; files whose name is in `failing` fail."""

    failing: dict[str, ConnectorError] = attrs.field(factory=dict)
    calls: list[dict[str, Any]] = attrs.field(factory=list)
    observer: Observer | None = None

    @asynccontextmanager
    async def open_session(
        self, settings: Settings, keys: KeyPair, token: Any, *, observer: Observer, **options: Any
    ) -> AsyncIterator[FakeSession]:
        if "session" in self.failing:
            raise self.failing["session"]
        self.observer = observer
        self.calls.append({"settings": settings, "keys": keys, "token": token})
        yield self

    async def download(self, accessions: Sequence[str], **options: Any) -> list[Outcome[Any]]:
        return self._done("download", accessions or ["F1", "F2"], options)

    async def upload(self, sources: Sequence[UploadSource], **options: Any) -> list[Outcome[Any]]:
        return self._done("upload", [source.alias for source in sources], {"sources": sources, **options})

    async def plan_upload(self, sources: Sequence[UploadSource], **options: Any) -> list[Outcome[Any]]:
        return self._done("plan", [source.alias for source in sources], {"sources": sources, **options})

    async def discard_uploads(self, unfinished: Sequence[UnfinishedUpload]) -> list[Outcome[Any]]:
        return self._done("discard", [upload.alias for upload in unfinished], {})

    def _done(self, what: str, names: Sequence[str], options: dict[str, Any]) -> list[Outcome[Any]]:
        self.calls.append({"what": what, "names": list(names), **options})
        outcomes = []
        for name in names:
            error = self.failing.get(name)
            value = Fetched(Path("/out") / name, 5)
            outcomes.append(Outcome(name, error=error) if error else Outcome(name, value))
            assert self.observer is not None
            self.observer.finished(outcomes[-1])
        return outcomes


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_key_pair(tmp_path / "my.sec", tmp_path / "my.pub", passphrase=None)


@pytest.fixture
def session() -> Any:
    return FakeSession()


@pytest.fixture
def desk(session: Any, keys: KeyPair, tmp_path: Path) -> Desk:
    environment = {
        "CONNECTOR_ACCESS_TOKEN": TOKEN,
        "CONNECTOR_WKVS_URL": "https://archive.example/.well-known",
        "CONNECTOR_MY_PRIVATE_KEY_PATH": str(tmp_path / "my.sec"),
    }
    return Desk(open_session=session.open_session, state_folder=NO_STATE, environment=environment)


def test_download_of_everything(desk: Desk, session: Any, keys: KeyPair, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert desk.run("download", "--output-dir", out, "--json", "--part-size", "8MiB") == 0
    opened, call = session.calls
    assert opened["keys"] == keys
    assert opened["token"].package_id == "package-1"
    assert opened["settings"].wkvs_url == "https://archive.example/.well-known"
    assert opened["settings"].part_size == 8 * 1024**2
    assert call == {
        "what": "download",
        "names": ["F1", "F2"],
        "output_dir": out,
        "decrypt": False,
        "overwrite": False,
        "verify": True,
        "verify_existing": False,
    }
    assert out.is_dir()
    assert desk.records == [
        {"name": "F1", "ok": True, "path": "/out/F1", "size": 5},
        {"name": "F2", "ok": True, "path": "/out/F2", "size": 5},
    ]
    assert desk.said.splitlines()[-1] == "2 of 2 files downloaded."


def test_download_of_some_decrypted(desk: Desk, session: Any, tmp_path: Path) -> None:
    assert desk.run("download", "--output-dir", tmp_path, "--decrypt", "--overwrite", "F7", "F8") == 0
    assert session.calls[1]["names"] == ["F7", "F8"]
    assert session.calls[1]["decrypt"]
    assert session.calls[1]["overwrite"]


def test_flags_from_the_environment(desk: Desk, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_OUTPUT_DIR", str(tmp_path))
    monkeypatch.setenv("CONNECTOR_DECRYPT", "1")
    monkeypatch.setenv("CONNECTOR_JSON", "true")
    assert desk.run("download") == 0
    assert session.calls[1]["decrypt"]
    assert len(desk.records) == 2


def test_one_failed_download_among_many_is_the_exit_code(desk: Desk, session: Any, tmp_path: Path) -> None:
    session.failing["F1"] = BrokenError("The connection was cut.")
    assert desk.run("download", "--output-dir", tmp_path, "--json") == 5
    assert [record["ok"] for record in desk.records] == [False, True]
    assert "F1: The connection was cut." in desk.said


def test_a_refused_session_is_one_sentence(desk: Desk, session: Any, tmp_path: Path) -> None:
    session.failing["session"] = RefusedError("The work package has expired.", hint="Ask for a new one.")
    assert desk.run("download", "--output-dir", tmp_path) == 4
    assert desk.said == "Error: The work package has expired. Ask for a new one.\n"


@pytest.mark.parametrize(
    ("missing", "says"),
    [("CONNECTOR_ACCESS_TOKEN", "access token"), ("CONNECTOR_MY_PRIVATE_KEY_PATH", "private key")],
)
def test_what_is_missing_is_said_before_anything_happens(
    desk: Desk, session: Any, tmp_path: Path, missing: str, says: str
) -> None:
    environment = {name: value for name, value in desk.around.environment.items() if name != missing}
    poorer = Desk(open_session=session.open_session, state_folder=NO_STATE, environment=environment)
    assert poorer.run("download", "--output-dir", tmp_path / "out") == 2
    assert says in poorer.said
    assert session.calls == []
    assert not (tmp_path / "out").exists()


def test_a_token_of_another_form(desk: Desk, session: Any, tmp_path: Path) -> None:
    environment = {**desk.around.environment, "CONNECTOR_ACCESS_TOKEN": "what?"}
    assert (
        Desk(open_session=session.open_session, state_folder=NO_STATE, environment=environment).run(
            "download", "--output-dir", tmp_path
        )
        == 2
    )
    assert session.calls == []


def test_two_keys_that_are_no_pair(desk: Desk, tmp_path: Path) -> None:
    write_key_pair(tmp_path / "other.sec", tmp_path / "other.pub", passphrase=None)
    code = desk.run("download", "--output-dir", tmp_path, "--my-public-key-path", tmp_path / "other.pub")
    assert code == 2
    assert "public key" in desk.said


def test_a_protected_key_asks_for_its_passphrase(session: Any, tmp_path: Path) -> None:
    pair = write_key_pair(tmp_path / "safe.sec", tmp_path / "safe.pub", passphrase="open sesame")
    arguments = ["download", "--output-dir", tmp_path, "--my-private-key-path", tmp_path / "safe.sec"]
    desk = Desk(
        open_session=session.open_session,
        state_folder=NO_STATE,
        stdin=ScriptedInput("terminal"),
        answers=["open sesame", TOKEN],
    )
    assert desk.run(*arguments) == 0
    assert session.calls[0]["keys"].private == pair.private
    wrong = Desk(
        open_session=session.open_session,
        state_folder=NO_STATE,
        environment={"CONNECTOR_PASSPHRASE": "wrong", "CONNECTOR_ACCESS_TOKEN": TOKEN},
    )
    assert wrong.run(*arguments) == 2
    assert "passphrase" in wrong.said
    nobody = Desk(
        open_session=session.open_session, state_folder=NO_STATE, environment={"CONNECTOR_ACCESS_TOKEN": TOKEN}
    )
    assert nobody.run(*arguments) == 2
    assert "CONNECTOR_PASSPHRASE" in nobody.said


def test_upload_of_one_file_under_another_name(desk: Desk, session: Any) -> None:
    assert desk.run("upload", "data/a.bam", "--alias", "SAMPLE") == 0
    assert session.calls[1]["sources"] == [UploadSource(Path("data/a.bam"), "SAMPLE")]
    assert session.calls[1]["what"] == "upload"


def test_upload_of_a_list_and_more(desk: Desk, session: Any, tmp_path: Path) -> None:
    list_file = tmp_path / "list.tsv"
    list_file.write_text("# June\nb.bam\tB\n")
    assert desk.run("upload", "data/a.bam", "--tsv", list_file, "--overwrite") == 0
    assert session.calls[1]["sources"] == [
        UploadSource(Path("data/a.bam"), "a.bam"),
        UploadSource(Path("b.bam"), "B"),
    ]
    assert session.calls[1]["overwrite"]


def test_a_dry_run_plans_only(desk: Desk, session: Any) -> None:
    assert desk.run("upload", "data/a.bam", "--dry-run") == 0
    assert [call.get("what") for call in session.calls] == [None, "plan"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upload"], "nothing to upload"),
        (["upload", "a", "b", "--alias", "X"], "exactly one"),
        (["upload", "--tsv", "/no/such/list"], "/no/such/list: No such file"),
        (["decrypt"], "nothing to decrypt"),
        (["decrypt", "a.bam"], ".c4gh"),
    ],
)
def test_words_that_make_no_sense(desk: Desk, session: Any, arguments: list[str], says: str) -> None:
    assert desk.run(*arguments) in (2, 3)
    assert says in desk.said
    assert session.calls == []


def test_decrypt_into_a_folder(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bam").write_bytes(b"reads")
    mine = ["--recipient-public-key-path", tmp_path / "my.pub"]
    assert desk.run("encrypt", tmp_path / "in" / "a.bam", *mine) == 0
    assert desk.run("decrypt", "--input-dir", tmp_path / "in", "--output-dir", tmp_path / "out") == 0
    assert (tmp_path / "out" / "a.bam").read_bytes() == b"reads"


def test_encrypt_for_several_with_a_key_of_our_own_or_a_fresh_one(desk: Desk, keys: KeyPair, tmp_path: Path) -> None:
    other = write_key_pair(tmp_path / "o.sec", tmp_path / "o.pub", passphrase=None)
    recipients = ["--recipient-public-key-path", tmp_path / "my.pub", "--recipient-public-key-path", tmp_path / "o.pub"]
    plain = tmp_path / "a.bam"
    plain.write_bytes(b"reads")
    assert desk.run("encrypt", plain, *recipients, "--output-dir", tmp_path / "own") == 0
    assert Desk(state_folder=NO_STATE).run("encrypt", plain, *recipients, "--output-dir", tmp_path / "fresh") == 0
    own, fresh = ((tmp_path / folder / "a.bam.c4gh").read_bytes() for folder in ("own", "fresh"))
    for sealed in (own, fresh):
        headers = [open_header(sealed, key) for key in (keys.private, other.private)]
        assert headers[0] == headers[1]
    # The writer's public key is in the clear, in each packet.
    assert keys.public in own
    assert keys.public not in fresh
    assert other.public not in fresh


def test_a_misspelt_command_or_option(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("dwonload") == 2
    assert "mean download?" in capsys.readouterr().err
    assert desk.run("download", "--no-such-option") == 2
    assert "No such option" in capsys.readouterr().err


def test_what_is_there_is_verified_on_request(desk: Desk, session: Any, tmp_path: Path) -> None:
    assert desk.run("download", "--output-dir", tmp_path, "--skip-existing") == 0
    assert session.calls[-1]["verify_existing"] is False
    assert desk.run("download", "--output-dir", tmp_path, "--verify-existing") == 0
    assert session.calls[-1]["verify_existing"] is True


def test_what_the_box_holds_is_verified_on_request(desk: Desk, session: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    assert desk.run("upload", tmp_path / "one", "--skip-existing") == 0
    assert desk.run("upload", tmp_path / "one", "--verify-existing") == 0
    assert [call["verify_existing"] for call in session.calls if "verify_existing" in call] == [False, True]
    assert desk.run("upload", tmp_path / "one", "--verify-existing", "--dry-run") == 2


@pytest.mark.parametrize(
    "options",
    [("--overwrite", "--skip-existing"), ("--overwrite", "--verify-existing"), ("--decrypt", "--no-verify")],
    ids=["existing", "content", "verify"],
)
def test_options_that_contradict_each_other(desk: Desk, session: Any, tmp_path: Path, options: Any) -> None:
    assert desk.run("download", "--output-dir", tmp_path, *options) == 2
    assert session.calls == []


def test_without_verification_the_session_is_told(desk: Desk, session: Any, tmp_path: Path) -> None:
    assert desk.run("download", "--output-dir", tmp_path, "--no-verify") == 0
    assert session.calls[-1]["verify"] is False


@pytest.mark.parametrize(
    ("words", "keyword"),
    [
        (["serve", "--only", "ucs,fax"], "fax"),
        (["work", "--kinds", "register,dance"], "dance"),
        (["rotate-key", "signing", "HD01"], "hub"),
    ],
)
def test_what_no_archive_has_is_told_before_one_is_opened(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], keyword: str
) -> None:
    assert desk.run("archive", *words, "--root", tmp_path / "none") == 2
    assert keyword in desk.said + capsys.readouterr().err
    assert not (tmp_path / "none").exists()
