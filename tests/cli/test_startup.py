"""Help answers before anything heavy is loaded, and in little more time than importing click takes."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import pytest

from connector.cli.root import run_command_line

HEAVY = {"trio", "anyio", "httpx", "cryptography", "attr", "attrs", "cattrs", "crypt4gh", "nacl", "starlette", "jwt"}


def modules_after(code: str) -> set[str]:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=180)
    return set(answer.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["download", "--help"], ["upload", "--help"], ["decrypt", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"sys.argv[1:] = {arguments!r}; from connector.cli import main; main()"
    loaded = modules_after(code)
    assert "click" in loaded
    assert not HEAVY & loaded


def used(arguments: list[str]) -> float:
    """The processor time of a run of Python: the time by the clock is also that of other processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, timeout=180)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_little_more_than_importing_click() -> None:
    click = ours = math.inf
    for _ in range(20):
        click = min(click, used(["-c", "import click"]))
        ours = min(ours, used(["-m", "connector", "--help"]))
        if ours <= 1.8 * click:
            return
    pytest.fail(f"--help takes {ours:.3f} s, importing click {click:.3f} s")


def test_a_shell_completes_words(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for instruction, words, code, said in (
        ("bash_complete", "connector archive gr", 0, "plain,grant\nplain,grants\n"),
        ("zsh_source", "", 0, "#compdef connector"),
        ("another_source", "", 2, ""),  # of a shell that click does not know
    ):
        monkeypatch.setenv("_CONNECTOR_COMPLETE", instruction)
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "2")
        assert run_command_line([]) == code
        out, err = capfd.readouterr()
        assert out.startswith(said)
        assert err == ""
