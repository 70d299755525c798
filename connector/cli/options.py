"""Options that several commands share, and the one rule how options are called in the environment.

``--part-size`` is ``CONNECTOR_PART_SIZE``, whatever the command. Settings (see :mod:`connector.config`) stay plain
text here and are parsed in one place together with environment and configuration file; everything else is an
ordinary click option.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

ENVIRONMENT_PREFIX = "CONNECTOR_"

REQUEUE = 75
"""Exit code of a run that --until has stopped: EX_TEMPFAIL of sysexits.h."""
TAKEN_CODES = frozenset({1, 2, 3, 4, 5, 6, 126, 127})
"""Exit codes that say something else: those of failures, and the shell's of commands that it cannot run."""

# Name: (metavar, help). Names and defaults are those of connector.config.Settings; a test compares the two.
SETTINGS = {
    "wkvs_url": ("URL", "Where the archive's well-known values live."),
    "my_public_key_path": ("FILE", "Your Crypt4GH public key."),
    "my_private_key_path": ("FILE", "Your Crypt4GH private key."),
    "token_file": ("FILE", "File with the access token; '-' is standard input."),
    "passphrase_file": ("FILE", "File with the passphrase of your private key; '-' is standard input."),
    "part_size": ("SIZE", "Bytes per part; files above 78 GiB go up in larger ones. Default: 8MiB."),
    "max_concurrency": ("N", "Parts in flight at most. Default: as many as help."),
    "memory": ("SIZE", "Budget of all part buffers together; grows to one part. Default: 256MiB."),
    "connect_timeout": ("SECONDS", "Longest wait for a connection. Default: 15."),
    "read_timeout": ("SECONDS", "Longest silence of the other side. Default: 60."),
    "retries": ("N", "Tries again per step. Default: 8."),
    "ca_file": ("FILE", "Certificates (PEM) to trust instead of the built-in ones."),
    "proxy": ("URL", "Proxy to go through instead of the one that the environment names."),
}


class SettingOption(click.Option):
    """An option that shows its environment variable but leaves reading it to ``load_settings``."""

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Say that there is nothing: the environment is read once, with the settings' own errors."""
        return


def option(*names: str, **attributes: Any) -> Decorator[Any]:
    """Return ``click.option`` with the environment variable that follows from the longest name."""
    variable = ENVIRONMENT_PREFIX + max(names, key=len).lstrip("-").replace("-", "_").upper()
    attributes.setdefault("envvar", variable)
    attributes.setdefault("show_envvar", True)
    return click.option(*names, **attributes)


def setting_options(*names: str) -> Decorator[Any]:
    """Return a decorator that adds the options of the settings with these names, in this order."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            metavar, text = SETTINGS[name]
            function = option(
                "--" + name.replace("_", "-"), name, cls=SettingOption, type=str, metavar=metavar, help=text
            )(function)
        return function

    return decorate


def key_options(function: F) -> F:
    """Add the options that name the user's key pair."""
    return setting_options("my_public_key_path", "my_private_key_path", "passphrase_file")(function)  # type: ignore[no-any-return]


def archive_options(function: F) -> F:
    """Add the options that say which archive is spoken to, and how."""
    return setting_options(  # type: ignore[no-any-return]
        "wkvs_url", "token_file", "ca_file", "proxy", "connect_timeout", "read_timeout", "retries"
    )(function)


def transfer_options(function: F) -> F:
    """Add the options that every transfer has."""
    return setting_options("part_size", "max_concurrency", "memory")(function)  # type: ignore[no-any-return]


def time_limit_options(function: F) -> F:
    """Add the options that end a run before a batch system does."""
    for decorate in (
        option(
            "--requeue-code",
            type=click.IntRange(1, 255),
            default=REQUEUE,
            show_default=True,
            metavar="N",
            callback=_check_requeue_code,
            help="Exit code when --until has stopped the run.",
        ),
        option(
            "--until",
            metavar="TIME|+SPAN",
            help="Stop in good order before this time: 06:30, 2026-11-27T06:30, or +3h30m from now. The same command"
            " goes on later.",
        ),
    ):
        function = decorate(function)
    return function


def _check_requeue_code(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value in TAKEN_CODES:
        raise click.BadParameter(f"{value} has another meaning already (see docs/exit-codes.md); 75 has none.")
    return value


def talk_options(function: F) -> F:
    """Add the options about what is printed, and the one that names the configuration file."""
    for decorate in (
        option("--debug", is_flag=True, help="Show log lines, and the traceback of an unexpected error."),
        option("--quiet", "-q", is_flag=True, help="Print errors only."),
        option("--json", "as_json", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON object per file on stdout."),
        option("--config", metavar="FILE", type=str, help="Configuration file (TOML)."),
    ):
        function = decorate(function)
    return function


def overwrite_option(function: F) -> F:
    """Add ``--overwrite``."""
    help = "Replace what is there already, except what an earlier run finished and nothing has changed since."
    return option("--overwrite", is_flag=True, help=help)(function)  # type: ignore[no-any-return]


def existing_options(function: F) -> F:
    """Add the options about what is there already. A command passes them to :func:`check_existing_options`."""
    for decorate in (
        option("--verify-existing", is_flag=True, help="Compare also the content of what is there already."),
        option("--skip-existing", is_flag=True, help="Leave alone what is there already: the default."),
        overwrite_option,
    ):
        function = decorate(function)
    return function


def check_existing_options(*, overwrite: bool, skip_existing: bool, verify_existing: bool) -> None:
    """Raise :class:`~connector.errors.UsageError` for options that contradict each other."""
    from connector.errors import UsageError

    for name, given in (("--skip-existing", skip_existing), ("--verify-existing", verify_existing)):
        if overwrite and given:
            raise UsageError(f"--overwrite and {name} contradict each other.", hint="Leave one out.")


def search_option(function: F) -> F:
    """Add the ``--output-dir`` that narrows where unfinished downloads are looked for."""
    return option(  # type: ignore[no-any-return]
        "--output-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Look for downloads there alone. Default: the current folder, and where unfinished ones went to.",
    )(function)
