"""Settings, from options, environment, configuration file and defaults.

Loading is pure: from option values, the environment and the bytes of the configuration file to one frozen `Settings`.
An option takes precedence over the environment, the environment over the file, the file over the default; an error
names the source of the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs
import platformdirs
from attrs.validators import ge, gt, optional

from connector.errors import UsageError

APPLICATION = "connector"
ENVIRONMENT_PREFIX = "CONNECTOR_"
CONFIG_VARIABLE = "CONNECTOR_CONFIG"

KIB, MIB, GIB = 1024, 1024**2, 1024**3

PART_SIZE_MIN = 64 * KIB
"""One Crypt4GH segment: no complete segment fits into a smaller part."""
PART_SIZE_MAX = 5 * GIB
"""The largest part of an S3 multipart upload."""
MAX_CONCURRENCY = 256
MIN_MEMORY = MIB

SECRET_NAMES = frozenset({"access_token", "token", "passphrase", "password"})

# The suffixes of GNU coreutils: K and KiB are 1,024 bytes, KB is 1,000.
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: KIB**_power, f"{_letter}ib": KIB**_power, f"{_letter}b": 1000**_power}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})")

_NUMBER = r"[0-9]{1,8}(?:\.[0-9]{1,6})?"
_DURATIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<seconds>{_NUMBER})",
        rf"(?:(?P<days>{_NUMBER})\s*d)?\s*(?:(?P<hours>{_NUMBER})\s*h)?\s*"
        rf"(?:(?P<minutes>{_NUMBER})\s*m(?:in)?)?\s*(?:(?P<seconds>{_NUMBER})\s*s)?",
        r"(?:(?:(?P<days>[0-9]{1,4})-)?(?P<hours>[0-9]{1,4}):)?(?P<minutes>[0-5]?[0-9]):(?P<seconds>[0-5][0-9])",
    )
)
_SECONDS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}


def parse_size(text: str) -> int:
    """Parse a size such as `16MiB`, `1.5 GiB`, `10MB` or `65536` and return bytes.

    Raises:
        ValueError: For anything else, and for a size that is no whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size; write it like 16MiB, 1GiB or 65536")
    from decimal import Decimal  # imported when it is needed, like the two below, to keep the start short

    size = Decimal(match[1]) * unit
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(size)


def parse_duration(text: str) -> float:
    """Parse a duration and return seconds: `90m`, `3h30m`, `1.5 d`, `5400s`, `5400`, `1:30:00`.

    With colons the format is that of Slurm's time left (`squeue -o %L`): `D-HH:MM:SS`, `H:MM:SS` or `MM:SS`.

    Raises:
        ValueError: For anything else, and for no time at all.
    """
    for notation in _DURATIONS:
        match = notation.fullmatch(text.strip())
        if match is not None:
            duration = sum(_SECONDS[unit] * float(number or 0) for unit, number in match.groupdict().items())
            if duration > 0:
                return duration
    raise ValueError(f"{text!r} is not a time span above zero; write it like 90s, 90m, 3h30m or 1:30:00")


def _without_password(url: str | None) -> str:
    parts = urlsplit(url or "")
    return repr(url and urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))


@attrs.frozen(kw_only=True)
class Settings:
    """All settings, in bytes and seconds; `ValueError` for numbers with which a transfer would wait for good."""

    wkvs_url: str | None = None
    """Base URL of the archive's well-known values: `GET {wkvs_url}/values`."""
    my_public_key_path: Path | None = None
    my_private_key_path: Path | None = None
    token_file: Path | None = None
    passphrase_file: Path | None = None
    part_size: int = attrs.field(default=8 * MIB, validator=ge(1))
    max_concurrency: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Parts in flight at most; `None` leaves it to the adaptive limit."""
    memory: int = attrs.field(default=256 * MIB, validator=ge(1))
    """Budget of all part buffers together; grows to what one part needs."""
    connect_timeout: float = attrs.field(default=15.0, validator=gt(0))
    read_timeout: float = attrs.field(default=60.0, validator=gt(0))
    """Longest time without a byte while a response is received."""
    retries: int = attrs.field(default=8, validator=ge(0))
    """How often one step is retried before its file fails."""
    ca_file: Path | None = None
    """Certificates to trust instead of the built-in ones (PEM)."""
    proxy: str | None = attrs.field(default=None, repr=_without_password)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a text, not {value!r}")
    return value.strip()


def parse_path(value: object) -> Path:
    """Parse a path; `~` is the user's home.

    Raises:
        ValueError: For what is no text or cannot be a path, and for `~` where there is no home.
    """
    if isinstance(value, Path):
        return value
    text = _text(value)
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r}: the home folder is not known, set HOME") from None


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _in_range(low: int, high: int, parse: Callable[[object], int]) -> Callable[[object], int]:
    def bounded(value: object) -> int:
        number = parse(value)
        if not low <= number <= high:
            raise ValueError(f"{number} lies outside {low} to {high}")
        return number

    return bounded


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return parse_size(_text(value))


def _seconds(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError(f"expected seconds, not {value!r}")
    return parse_duration(str(value) if isinstance(value, int | float) else _text(value))


def parse_web_address(value: object) -> str:
    """Parse an address that begins with http:// or https://; raises `ValueError`."""
    text = _text(value).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not a web address; it begins with https:// or http://")
    _ = parts.port  # raises ValueError for a port that is no number
    return text


def _wkvs_address(value: object) -> str:
    url = parse_web_address(value)
    if "@" in urlsplit(url).netloc:
        raise ValueError("the address must not hold a user name or password")
    # People paste the whole address that their browser shows.
    return url.removesuffix("/values")


_PARSERS: Mapping[str, Callable[[object], Any]] = {
    "wkvs_url": _wkvs_address,
    "my_public_key_path": parse_path,
    "my_private_key_path": parse_path,
    "token_file": parse_path,
    "passphrase_file": parse_path,
    "part_size": _in_range(PART_SIZE_MIN, PART_SIZE_MAX, _size),
    "max_concurrency": _in_range(1, MAX_CONCURRENCY, _whole),
    "memory": _in_range(MIN_MEMORY, 1024 * GIB, _size),
    "connect_timeout": _seconds,
    "read_timeout": _seconds,
    "retries": _in_range(0, 100, _whole),
    "ca_file": parse_path,
    "proxy": parse_web_address,
}

SETTING_NAMES: tuple[str, ...] = tuple(_PARSERS)


def option_name(name: str) -> str:
    """Return the option of a setting: `part_size` -> `--part-size`."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """Return the environment variable of a setting: `part_size` -> `CONNECTOR_PART_SIZE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def config_place(option: str | None, environment: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the path of the configuration file, and whether it was named explicitly.

    A file that was named must exist; the one in the user's configuration folder need not.
    """
    named = option or environment.get(CONFIG_VARIABLE)
    if named:
        try:
            return parse_path(named), True
        except ValueError as error:
            raise UsageError(f"{'--config' if option else CONFIG_VARIABLE}: {error}.") from None
    try:
        folder = Path(platformdirs.user_config_dir(APPLICATION))
    except RuntimeError:  # without a home
        folder = Path("/dev/null", APPLICATION)
    return folder / "config.toml", False


def load_settings(
    cli_values: Mapping[str, object | None],
    environment: Mapping[str, str],
    config_file: bytes | None,
    *,
    config_name: str = "config.toml",
    name_of: Callable[[str], str] = option_name,
) -> Settings:
    """Put the settings together: option over environment over file over default.

    `cli_values` holds the values of options by setting name; `None` means not given, and other names are ignored.
    `config_file` is the content of the TOML file, `config_name` its name in errors; `name_of` names the value of an
    option there. An empty environment variable counts as not set.

    Raises:
        UsageError: Naming the source.
    """
    written = _read_toml(config_file, config_name) if config_file is not None else {}
    chosen: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        if cli_values.get(name) is not None:
            source, value = name_of(name), cli_values[name]
        elif environment.get(variable_name(name)):
            source, value = variable_name(name), environment[variable_name(name)]
        elif name in written:
            source, value = f"{config_name}, {name}", written[name]
        else:
            continue
        try:
            chosen[name] = parse(value)
        except ValueError as error:
            raise UsageError(f"{source}: {error}.") from None
    settings = Settings(**chosen)
    if "part_size" not in chosen:  # only parts that were asked for make the budget grow
        settings = attrs.evolve(settings, part_size=min(settings.part_size, settings.memory))
    return settings


def _read_toml(content: bytes, name: str) -> dict[str, object]:
    import tomllib

    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the latter of deeply nested arrays
        what = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"not valid TOML: {error}"
        raise UsageError(f"{name}: {what}.") from None
    values: dict[str, object] = {}
    for key, value in table.items():
        setting = key.replace("-", "_")
        if setting in SECRET_NAMES:
            hint = "Name a file with token_file or passphrase_file, or use the environment."
            raise UsageError(f"{name}: {key!r} does not belong into a configuration file.", hint=hint)
        if setting not in _PARSERS:
            import difflib

            close = difflib.get_close_matches(setting, _PARSERS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(_PARSERS)}."
            raise UsageError(f"{name}: there is no setting {key!r}.", hint=hint)
        values[setting] = value
    return values
