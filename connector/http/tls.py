"""The TLS context: which certificates are trusted."""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from connector.errors import LocalError, UsageError

_MAX_CA_FILE = 64 * 1024**2
"""Bytes; the certificates of all public authorities take a quarter of a megabyte."""

_HASHED = re.compile(r"[0-9a-f]{8}\.r?[0-9]+")
"""The names under which OpenSSL looks for certificates and revocations in a folder."""


def make_ssl_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that checks certificate and host name.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured by OpenSSL itself. Where the system offers OpenSSL no
    trust store at all (Python from python.org on macOS), the one of `certifi` takes its place.

    Args:
        ca_file: Certificates (PEM) that are trusted instead of the system's.

    Raises:
        LocalError: The file cannot be read, or is a folder; or the one that SSLKEYLOGFILE names cannot be written.
        UsageError: It is no file, or holds no certificates; or a variable names what OpenSSL would never end to read.
    """
    try:
        if ca_file is not None:
            _check_is_file(ca_file)
        else:
            _check_variables()
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except ssl.SSLError as error:
        raise UsageError(f"{ca_file} holds no certificates (PEM).", hint="Name another --ca-file.") from error
    except OSError as error:
        if error.filename not in (None, str(ca_file)):
            raise LocalError(
                f"Could not write the keys of connections to {error.filename}: {error.strerror}.",
                hint="The variable SSLKEYLOGFILE names that file: unset it, or name another one.",
            ) from error
        raise LocalError(
            f"Could not read the certificates {ca_file}: {error.strerror or type(error).__name__}.",
            hint="Check the path and its permissions.",
        ) from error
    paths = ssl.get_default_verify_paths()
    if ca_file is None and not (paths.cafile or paths.capath or context.cert_store_stats()["x509_ca"]):
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_variables() -> None:
    """OpenSSL would open what these variables name in the middle of a handshake, and wait for a pipe for ever."""
    if file := os.environ.get("SSL_CERT_FILE"):
        _check_ends("SSL_CERT_FILE", file)
    for path in filter(None, os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)):
        _check_ends("SSL_CERT_DIR", path)
        with suppress(OSError):  # none of it is opened then
            for entry in os.scandir(path):
                if _HASHED.fullmatch(entry.name):
                    _check_ends("SSL_CERT_DIR", entry.path)


def _check_ends(variable: str, path: str) -> None:
    with suppress(OSError):
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and not os.path.samefile(path, os.devnull)):
            raise UsageError(
                f"{path} is no file of certificates (PEM).",
                hint=f"The variable {variable} names it: unset or change it.",
            )


def _check_is_file(path: Path) -> None:
    """OpenSSL would wait for a pipe, never end to read a device, and has no word for a folder."""
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(state.st_mode) or state.st_size > _MAX_CA_FILE:
        raise UsageError(f"{path} is no file of certificates (PEM).", hint="Name another --ca-file.")
