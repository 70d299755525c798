"""Settings of providers from the environment and from a TOML file, by typed-settings (extras `s3` and `mongodb`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, TypeVar

from persistence.errors import InvalidSettings

T = TypeVar("T")

_PREAMBLE: Final = re.compile(r"^Could not convert loaded settings: \s*- \w+: ")


def load_settings(kind: type[T], file: Path | None, *, prefix: str, service: str, example: str) -> T:
    """Settings of an attrs class from the environment, which takes precedence, and from one table of a TOML file.

    Args:
        kind: the class.
        file: the TOML file; None means the environment alone.
        prefix: what the names of the variables begin with.
        service: what the settings are for; in small letters the name of the table.
        example: a setting that the hint names.

    Raises:
        InvalidSettings: a setting is missing, unknown or wrong, or the file cannot be read.
    """
    import typed_settings as ts

    table = service.lower()
    files = [] if file is None else [f"!{file}"]  # a file with ! must exist
    try:
        return ts.load_settings(kind, [ts.FileLoader({"*": ts.TomlFormat(table)}, files), ts.EnvLoader(prefix)])
    except (ts.exceptions.TsError, OSError) as error:
        reasons = getattr(error, "exceptions", None) or (error,)
        text = "; ".join(_PREAMBLE.sub("", str(reason)).rstrip(".") for reason in reasons)
        variable = f"{prefix}{example.upper()} in the environment"
        hint = f"Set {variable} or {example} in table [{table}] of the file, and so the others."
        raise InvalidSettings(f"The settings for {service} cannot be used: {text}.", hint=hint) from error
