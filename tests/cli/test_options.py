from __future__ import annotations

from pathlib import Path

import click
import pytest

from connector.cli.options import SETTINGS, SettingOption
from connector.cli.root import COMMANDS, cli
from connector.config import SETTING_NAMES, Settings, variable_name

OURS = [name for name in COMMANDS if name != "archive"]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(name: str) -> list[click.Option]:
    return [parameter for parameter in command(name).params if isinstance(parameter, click.Option)]


def test_every_setting_has_an_option_and_the_help_tells_its_default() -> None:
    assert set(SETTINGS) == set(SETTING_NAMES)
    defaults = Settings()
    assert defaults.part_size == 8 * 1024**2
    assert "8MiB" in SETTINGS["part_size"][1]
    assert defaults.memory == 256 * 1024**2
    assert "256MiB" in SETTINGS["memory"][1]
    for name in ("connect_timeout", "read_timeout", "retries"):
        assert f"Default: {getattr(defaults, name):g}." in SETTINGS[name][1]


@pytest.mark.parametrize("name", OURS)
def test_every_option_has_one_variable_that_follows_from_its_name(name: str) -> None:
    assert options(name)
    for option in options(name):
        # Said for one command at a time, or not at all; and a list that is set for uploads is none for rm.
        if option.opts in (["--all"], ["--in-box"], ["--yes", "-y"]) or (name, option.name) == ("rm", "tsv"):
            assert option.envvar is None
            continue
        longest = max(option.opts, key=len).lstrip("-")
        assert option.envvar == variable_name(longest.replace("-", "_")), option.opts
        assert option.show_envvar
        assert option.help


@pytest.mark.parametrize("name", OURS)
def test_settings_are_read_in_one_place(name: str) -> None:
    for option in options(name):
        if option.name in SETTING_NAMES:
            assert isinstance(option, SettingOption)
            assert option.default is None or not isinstance(option.default, str)


@pytest.mark.parametrize("name", OURS)
def test_the_table_knows_what_a_command_does(name: str) -> None:
    assert command(name).get_short_help_str(limit=200) == COMMANDS[name]


@pytest.mark.parametrize("name", OURS)
def test_secrets_are_no_options(name: str) -> None:
    for option in options(name):
        assert not {"--token", "--access-token", "--passphrase", "--password"} & set(option.opts)


@pytest.mark.parametrize("name", [*OURS, "archive serve", "archive grant download"])
def test_what_is_written_for_a_path_in_every_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave `~` as it is in `--output-dir=~/data`."""
    monkeypatch.setenv("HOME", "/home/me")
    found: click.Command | None = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert found is not None
    for option in (each for each in found.params if isinstance(each, click.Option)):
        if isinstance(option.type, click.Path):
            assert option.type.convert("~/x", option, None) == Path("/home/me/x")
            assert option.type.convert("./~/x", option, None) == Path("~/x")
            with pytest.raises(click.BadParameter, match="empty"):
                option.type.convert("", option, None)
