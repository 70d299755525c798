"""Options that several commands share, and the names of their environment variables.

`--part-size` is `CONNECTOR_PART_SIZE`, whatever the command. Settings (see `config`) stay plain
text here and are parsed in one place together with environment and configuration file; everything else is an
ordinary click option.
"""

from __future__ import annotations

import functools
import os
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
"""Exit codes with another meaning: those of failures, and the shell's for commands that it cannot run."""

WHAT, WHERE, TUNING, OUTPUT = "What to do", "Archive and keys", "Tuning", "Output and configuration"
"""The groups of options in the order in which `--help` lists them."""

# Name: (metavar, help). Names and defaults are those of connector.config.Settings; a test compares the two.
SETTINGS = {
    "wkvs_url": ("URL", "Base URL of the archive's well-known values."),
    "my_public_key_path": ("FILE", "Your Crypt4GH or OpenSSH (ed25519) public key."),
    "my_private_key_path": ("FILE", "Your Crypt4GH or OpenSSH (ed25519) private key."),
    "token_file": ("FILE", "File with the access token; '-' is standard input."),
    "passphrase_file": ("FILE", "File with the passphrase of your private key; '-' is standard input."),
    "part_size": ("SIZE", "Bytes per part; uploads above 78 GiB use larger ones. Default: 8MiB."),
    "max_concurrency": ("N", "Parts in flight at most. Default: adaptive."),
    "memory": ("SIZE", "Budget of all part buffers; at least one part. Default: 256MiB."),
    "connect_timeout": ("SECONDS", "Longest wait for a connection. Default: 15."),
    "read_timeout": ("SECONDS", "Longest time without a byte from the server. Default: 60."),
    "retries": ("N", "Retries per step. Default: 8."),
    "ca_file": ("FILE", "Certificates (PEM) to trust instead of the built-in ones."),
    "proxy": ("URL", "Proxy to use instead of the one that the environment names."),
}


class GroupedOption(click.Option):
    """An option that knows in which group `--help` lists it."""

    def __init__(self, *arguments: Any, group: str = WHAT, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group


class SettingOption(GroupedOption):
    """An option that shows its environment variable but leaves reading it to `load_settings`."""

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Return None: the environment is read once, by `load_settings`, with its own errors."""
        return


class LocalPath(click.Path):
    """A path given by an option. For arguments `click.Path` does: shells expand `~` in them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(readable=False, path_type=Path, **attributes)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Expand `~/`, which shells leave as it is in `--output-dir=~/data`."""
        from connector.errors import UsageError
        from connector.local.disk import path_of

        try:
            return super().convert(path_of(value), param, ctx)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options by groups, the most important ones first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section for each group that has any."""
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in (WHAT, WHERE, TUNING, OUTPUT)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                rows[parameter.group if isinstance(parameter, GroupedOption) else OUTPUT].append(record)
        for group, records in rows.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


def option(*names: str, **attributes: Any) -> Decorator[Any]:
    """Return `click.option` with the environment variable that follows from the longest name."""
    variable = ENVIRONMENT_PREFIX + max(names, key=len).lstrip("-").replace("-", "_").upper()
    attributes.setdefault("envvar", variable)
    attributes.setdefault("show_envvar", True)
    attributes.setdefault("cls", GroupedOption)
    return click.option(*names, **attributes)


def all_of(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Return a decorator that applies all of these; `--help` lists their options in the same order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def setting_options(*names: str, group: str) -> Decorator[Any]:
    """Return a decorator that adds the options of the settings with these names, in this order, to a group."""
    return all_of(
        *(
            option(
                "--" + name.replace("_", "-"),
                name,
                cls=SettingOption,
                group=group,
                type=str,
                metavar=SETTINGS[name][0],
                help=SETTINGS[name][1],
            )
            for name in names
        )
    )


def _check_requeue_code(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value in TAKEN_CODES:
        raise click.BadParameter(f"{value} has another meaning already (see docs/exit-codes.md); 75 has none.")
    return value


archive_options = all_of(
    setting_options(
        "wkvs_url", "token_file", "my_private_key_path", "my_public_key_path", "passphrase_file", group=WHERE
    ),
    setting_options("ca_file", "proxy", "connect_timeout", "read_timeout", "retries", group=TUNING),
)
"""The options that name the archive and the user's key pair, and configure the connection."""

transfer_options = setting_options("part_size", "max_concurrency", "memory", group=TUNING)
"""The options that every transfer has."""

time_limit_options = all_of(
    option(
        "--until",
        metavar="TIME|+SPAN",
        group=TUNING,
        help="Stop in good order before this time: 06:30, 2026-11-27T06:30, or +3h30m from now. The same command"
        " resumes later.",
    ),
    option(
        "--requeue-code",
        type=click.IntRange(1, 255),
        default=REQUEUE,
        show_default=True,
        metavar="N",
        group=TUNING,
        callback=_check_requeue_code,
        help="Exit code when --until has stopped the run.",
    ),
)
"""The options that end a run before a batch system does."""

output_options = all_of(
    option("--config", group=OUTPUT, metavar="FILE", type=str, help="Configuration file (TOML)."),
    option(
        "--json",
        "as_json",
        is_flag=True,
        group=OUTPUT,
        help="One JSON object per file on stdout.",
        envvar="CONNECTOR_JSON",
    ),
    option("--quiet", "-q", is_flag=True, group=OUTPUT, help="Print errors only."),
    option("--debug", is_flag=True, group=OUTPUT, help="Show log lines, and the traceback of an unexpected error."),
)
"""The options about what is printed, and the one that names the configuration file."""


def command(
    name: str | None = None, *, output: Decorator[Any] = output_options, resume_hint: str | None = None
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Return the decorator that turns a function into a command, with `output`, the options about what is printed.

    The function gets an `Invocation` and the values of its options, and returns the exit code, `None` for 0.
    `resume_hint`: see `connector.cli.run.run`.
    """

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def call(**options: Any) -> None:
            from connector.cli.run import run  # only where a command runs: it loads what `--help` does not need

            run(click.get_current_context(), functools.partial(function, **options), resume_hint=resume_hint)

        return click.command(name, cls=GroupedCommand)(output(call))

    return decorate


_overwrite = option(
    "--overwrite",
    is_flag=True,
    help="Replace existing files, except those that an earlier run finished and that are unchanged since.",
)

existing_options = all_of(
    _overwrite,
    option("--skip-existing", is_flag=True, help="Skip existing files: the default."),
    option("--verify-existing", is_flag=True, help="Compare also the content of existing files."),
)
"""The options about existing files. A command passes them to `check_existing_options`."""

result_options = all_of(
    option(
        "--output-dir",
        type=LocalPath(file_okay=False),
        metavar="DIR",
        help="Where the results go. Default: beside each file.",
    ),
    _overwrite,
)
"""The options about the results of local commands: where they go, and what they may replace."""

search_option = option(
    "--output-dir",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Look for downloads only there. Default: the current folder, and those with unfinished downloads.",
)
"""The `--output-dir` that restricts the search for unfinished downloads."""


def check_existing_options(*, overwrite: bool, skip_existing: bool, verify_existing: bool) -> None:
    """Raise `UsageError` for options that contradict each other."""
    from connector.errors import UsageError

    for name, given in (("--skip-existing", skip_existing), ("--verify-existing", verify_existing)):
        if overwrite and given:
            raise UsageError(f"--overwrite and {name} contradict each other.", hint="Leave one out.")
