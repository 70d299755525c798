"""The settings of a call, with the configuration file of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from connector.config import Settings, config_place, load_settings, option_name
from connector.errors import LocalError, UsageError
from connector.local.small_file import read_small_file

_LONGEST = 1024**2


def read_settings(
    values: Mapping[str, object | None],
    environment: Mapping[str, str],
    *,
    config: str | None = None,
    name_of: Callable[[str], str] = option_name,
) -> Settings:
    """Put settings together as `load_settings` does; reads the configuration file, by default the user's. Blocks.

    Raises:
        UsageError: Naming the source of an invalid value, or a configuration file that cannot be read.
    """
    path, named = config_place(config, environment)
    return load_settings(values, environment, _read(path, named), config_name=str(path), name_of=name_of)


def _read(path: Path, named: bool) -> bytes | None:
    try:
        return read_small_file(path, "configuration file", limit=_LONGEST)
    except LocalError as error:
        if not named and isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise UsageError(error.message, hint=error.hint) from error
