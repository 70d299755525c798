"""The `connector` command: a table of its subcommands, loaded only when one of them is asked for.

This module and `options` import click alone, so that `--help` takes hardly longer than
importing click; `tests/cli/test_startup.py` measures it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module

import click

COMMANDS: Mapping[str, str] = {
    "keygen": "Make a Crypt4GH key pair.",
    "upload": "Encrypt files and send them to your upload box.",
    "download": "Fetch the files of your work package.",
    "ls": "List the files of your work package and their states.",
    "rm": "Remove uploads from your upload box, complete ones too.",
    "status": "List uploads and downloads that were interrupted.",
    "discard": "Discard unfinished transfers: uploads by alias, downloads by accession.",
    "decrypt": "Decrypt Crypt4GH files on this machine.",
    "encrypt": "Encrypt files on this machine for a public key.",
    "archive": "Run and administer an archive of your own.",
    "demo": "Try all steps: archive, upload, download, decrypt, compare.",
}
"""What each command does. It is in the module of its name, below `connector.cli.commands`."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells count it."""
COMPLETION = "_CONNECTOR_COMPLETE"
"""The variable by which shells ask click for completions: `eval "$(_CONNECTOR_COMPLETE=bash_source connector)"`."""
USAGE, OUTPUT_LOST = 2, 3
"""The exit codes of `UsageError` and `LocalError`, which are not imported here."""


class LazyGroup(click.Group):
    """A group whose commands are listed in a table; only the module of the one that runs is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"connector.cli.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, suggest those with similar names."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS)
            if not close or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(close)}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Most options can also be set in the environment (see COMMAND --help), settings also in a"
    " configuration file. Exit codes: 0 done, 2 usage, 3 this machine, 4 refused, 5 broken, 6 integrity,"
    " 75 stopped by --until, 128 and more stopped by a signal.",
)
@click.version_option(
    package_name="crypt4gh-connector", prog_name="connector", message="%(prog)s %(version)s", help="Show the version."
)
def cli() -> None:
    """Move large Crypt4GH-encrypted files between your disk and an archive."""


def _show(error: click.ClickException) -> None:
    """Print an error of the command line, which quotes the user's own words, without control characters."""
    from io import StringIO

    from connector.cli.console import neutralised

    text = StringIO()
    error.show(text)
    click.echo("\n".join(map(neutralised, text.getvalue().split("\n"))), err=True, nl=False)


def run_command_line(arguments: Sequence[str] | None = None, obj: object = None) -> int:
    """Run one command line (default: the process' own) and return its exit code.

    `obj` is an `AppContext` to use instead of that of the process.
    """
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="connector", standalone_mode=False, obj=obj
        )
    except click.ClickException as error:
        with suppress(OSError, ValueError):  # standard error may be full, closed or gone
            _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        with suppress(OSError, ValueError):
            click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except (OSError, SystemExit) as error:  # click prints --help and --version, and exits where the reader has gone
        if isinstance(error, SystemExit) and os.environ.get(COMPLETION):
            return USAGE if error.code else 0  # it has completed words for a shell, or knows no such shell
        reason = error.strerror if isinstance(error, OSError) else "Broken pipe"
        with suppress(OSError, ValueError):
            click.echo(f"Error: standard output cannot be written: {reason}.", err=True)
        return OUTPUT_LOST
    return code if isinstance(code, int) else 0
