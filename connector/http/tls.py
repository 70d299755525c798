"""What a TLS connection trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from connector.errors import UsageError
from connector.local.failures import local_failures


def make_ssl_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that checks certificate and host name against the system trust store or, if given, ``ca_file``.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured by OpenSSL itself. Where the system offers OpenSSL no
    store at all (Python from python.org on macOS), the one of ``certifi`` takes its place. Raises
    :class:`~connector.errors.LocalError` or :class:`~connector.errors.UsageError` for a CA file that is of no use.
    """
    if ca_file is not None:
        with local_failures("read the certificates", ca_file):
            try:
                context = ssl.create_default_context(cafile=str(ca_file))
            except ssl.SSLError as error:
                raise UsageError(f"{ca_file} holds no certificates (PEM).", hint="Name another --ca-file.") from error
    else:
        context = ssl.create_default_context()
        paths = ssl.get_default_verify_paths()
        if not paths.cafile and not paths.capath and not context.cert_store_stats()["x509_ca"]:
            import certifi

            context.load_verify_locations(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
