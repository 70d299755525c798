"""Reads the configuration of an archive: `archive.toml`, the environment, and options of the command line.

An option takes precedence over the environment, the environment over the file, the file over the default. The
environment variable of a key is `CONNECTOR_ARCHIVE_` and its path in capitals: `CONNECTOR_ARCHIVE_PUBLIC_URL`,
`CONNECTOR_ARCHIVE_DOCUMENTS_URI`, and with the alias of a hub `CONNECTOR_ARCHIVE_HUBS_HD01_SECRET_KEY`. Secrets are in
files that only their owner may read, or in the environment, but not in `archive.toml`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from connector.archive.config import EMBEDDED_ALIAS, ArchiveConfig, embedded
from connector.archive.config_values import DOCUMENTS, STORAGES, structure_as
from connector.archive.key_formats import parse_key, read_secret
from connector.archive.master_keys import VARIABLE
from connector.archive.settings import ArchiveSettings
from connector.config import parse_path, parse_web_address
from connector.errors import LocalError, UsageError

Table = dict[str, Any]

PREFIX = "CONNECTOR_ARCHIVE_"
SETTING_NAMES = tuple(field.name for field in attrs.fields(ArchiveSettings))
_TOP = ("public_url", *SETTING_NAMES)
_SECRETS = frozenset({"secret_key", "session_token"})
_LONGEST = 1024**2
"""Bytes of a configuration."""
_FROM_FILES = ("uri", "access_key", "secret_key", "session_token")
"""Keys whose value may be in a file, named by the key with `_file`."""


def read_config(
    file: Path, *, environment: Mapping[str, str] = os.environ, options: Mapping[str, Any] | None = None
) -> ArchiveConfig:
    """Read the configuration of an archive from `archive.toml`. Blocks on the disk.

    Args:
        file: The TOML file. Relative paths in it begin at its directory.
        environment: The environment.
        options: Values of command line options by the name of their key; None means not given.

    Raises:
        LocalError: A file cannot be read, or a secret can be read by others.
        UsageError: A key or value is not valid, or the file is no TOML.
    """
    name, content = str(file), _read(file)
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, or of deeply nested arrays
        raise UsageError(f"{name}: not valid TOML: {error}.") from error
    _refuse_secrets(table, name)
    hubs = table.get("hubs", [])
    if not isinstance(hubs, list) or len(_tables(hubs)) < len(hubs):
        raise UsageError(f"{name}: hubs: a table [[hubs]] is expected for each hub.")
    _apply_top(table, environment, options or {})
    _apply_tables(table, environment)
    _read_secrets(table, file.parent)
    _resolve_paths(table, file.parent)
    keys = table.pop("keys", {})
    flat = {key: table.pop(key) for key in list(table) if key in SETTING_NAMES}
    if not isinstance(keys, dict) or keys.keys() - {"directory"}:
        raise UsageError(f"{name}: keys: a table is expected with nothing but directory, not {keys!r}.")
    directory = keys.get("directory", str(file.parent / "keys"))
    master = {"master_keys": environment[VARIABLE]} if environment.get(VARIABLE) else {}
    config = structure_as({**table, "keys_directory": directory, **master, "settings": flat}, ArchiveConfig, name)
    return attrs.evolve(config, public_url=_web_address(config.public_url))


def embedded_config(
    root: Path, *, environment: Mapping[str, str] = os.environ, options: Mapping[str, Any] | None = None
) -> ArchiveConfig:
    """The configuration of an archive in one directory, with settings from the environment and from options.

    Raises:
        UsageError: A value is not valid.
    """
    table: Table = {}
    _apply_top(table, environment, options or {})
    alias = (options or {}).get("storage_alias") or environment.get("CONNECTOR_STORAGE_ALIAS") or EMBEDDED_ALIAS
    public_url = table.pop("public_url", None)
    settings = structure_as(table, ArchiveSettings, "environment and options")
    try:
        config = embedded(root, storage_alias=alias)
    except ValueError as error:
        raise UsageError(f"--storage-alias: {error}.") from error
    return attrs.evolve(
        config, settings=settings, public_url=_web_address(public_url), master_keys=environment.get(VARIABLE) or None
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > _LONGEST:
        raise UsageError(f"{path} has more than 1 MiB, so it is not the configuration of an archive.")
    return content


def _refuse_secrets(table: Table, name: str) -> None:
    documents = table.get("documents")
    uri = documents.get("uri") if isinstance(documents, dict) else None
    if isinstance(uri, str) and re.match(r"[a-z+]+://[^/]*:[^/]*@", uri):
        raise UsageError(
            f"{name}: documents.uri holds a password.",
            hint=f"Name a file with the whole URI in uri_file, or set {PREFIX}DOCUMENTS_URI.",
        )
    for hub in _tables(table.get("hubs")):
        storage = hub.get("storage")
        for key in sorted(_SECRETS & (storage.keys() if isinstance(storage, dict) else set())):
            raise UsageError(
                f"{name}: {key} of a hub does not belong into a configuration file.",
                hint=f"Name a file with it in {key}_file, or set {_hub_variable(hub, key)}.",
            )


def _apply_top(table: Table, environment: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Put the values of options and of the environment where the file would have them: the keys of its top."""
    for key in _TOP:
        if options.get(key) is not None:
            table[key] = options[key]
        elif environment.get(PREFIX + key.upper()):
            table[key] = environment[PREFIX + key.upper()]


def _apply_tables(table: Table, environment: Mapping[str, str]) -> None:
    """Put the values of the environment where the file would have them: the keys of its tables."""
    for name, keys in (("documents", ["provider", *_field_names(DOCUMENTS)]), ("keys", ["directory"])):
        for key in keys:
            value = environment.get(f"{PREFIX}{name}_{key}".upper())
            part: Any = table.setdefault(name, {}) if value else None
            if isinstance(part, dict):
                part[key] = value
                part.pop(f"{key}_file", None)
    hubs = _tables(table.get("hubs"))
    _check_variables([_hub_variable(hub, "") for hub in hubs], environment)
    for hub in hubs:
        if value := environment.get(_hub_variable(hub, "private_key")):
            hub["private_key"] = _decode_key(value, _hub_variable(hub, "private_key"))
        for storage in _tables([hub.get("storage")]):
            for key in _field_names(STORAGES):
                if value := environment.get(_hub_variable(hub, key)):
                    storage[key] = value
                    storage.pop(f"{key}_file", None)


def _check_variables(prefixes: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse variables that are those of two hubs, whose aliases differ only in case or in signs."""
    for prefix in prefixes:
        if prefixes.count(prefix) > 1 and any(name.startswith(prefix) for name in environment):
            raise UsageError(
                f"Two hubs have the environment variables {prefix}..., since their aliases differ in signs only.",
                hint="Give what is theirs in the configuration file.",
            )


def _field_names(classes: Mapping[str, type]) -> list[str]:
    return list(dict.fromkeys(field.name for one in classes.values() for field in attrs.fields(one)))


def _hub_variable(hub: Table, key: str) -> str:
    alias = re.sub(r"[^A-Za-z0-9]", "_", str(hub.get("alias")))
    return f"{PREFIX}HUBS_{alias}_{key}".upper()


def _tables(value: object) -> list[Table]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _read_secrets(table: Table, directory: Path) -> None:
    """Replace the names of files with secrets by what they hold."""
    for hub in _tables(table.get("hubs")):
        if isinstance(hub.get("private_key"), str):
            hub["private_key"] = read_secret(_path(directory, hub, "private_key"))
    for part in _tables([table.get("documents"), *(hub.get("storage") for hub in _tables(table.get("hubs")))]):
        for key in _FROM_FILES:
            if not isinstance(part.get(f"{key}_file", ""), str):
                raise UsageError(f"archive.toml: {key}_file: the name of a file is expected.")
            if f"{key}_file" in part:
                part[key] = read_secret(_path(directory, part, f"{key}_file")).decode("utf-8", errors="replace").strip()
            part.pop(f"{key}_file", None)


def _resolve_paths(table: Table, directory: Path) -> None:
    parts = [table.get("documents"), table.get("keys"), *(hub.get("storage") for hub in _tables(table.get("hubs")))]
    for part in _tables(parts):
        for key in ("path", "directory", "ca_file"):
            if isinstance(part.get(key), str):
                part[key] = str(_path(directory, part, key))


def _path(directory: Path, part: Table, key: str) -> Path:
    """The path that a key has, beginning at the directory unless it is absolute or in a home."""
    try:
        return directory / parse_path(part[key])
    except ValueError as error:
        raise UsageError(f"{key}: {error}.") from error


def _decode_key(text: str, variable: str) -> bytes:
    try:
        return parse_key(text.encode())
    except ValueError as error:
        raise UsageError(f"{variable}: not the base64 of a key of 32 bytes.") from error


def _web_address(url: str | None) -> str | None:
    try:
        address = parse_web_address(url) if url else None
    except ValueError as error:
        raise UsageError(f"public_url: {error}.") from error
    if address is not None and re.search(r"[?#@\s]", address):
        raise UsageError(
            "public_url: services cannot be under an address with a query, a fragment, a user or blanks.",
            hint="It has a host, perhaps a port and a path, and nothing else.",
        )
    return address
