"""The access token of a work package, as a user gets it: ``PACKAGE_ID:ENCRYPTED``."""

from __future__ import annotations

import re

import attrs

from connector.crypt4gh.sealed_box import open_text
from connector.errors import UsageError

_FORM = re.compile(r"([A-Za-z0-9-]{1,64}):([A-Za-z0-9+/]+={0,2})")


@attrs.frozen
class AccessToken:
    """A work package and its secret, sealed (base64) to the user's public key."""

    package_id: str
    sealed: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> AccessToken:
        """Read the string that users get; :class:`~connector.errors.UsageError` if it has another form."""
        match = _FORM.fullmatch("".join(text.split()))
        if match is None:
            raise UsageError(
                "The access token is not of the form PACKAGE_ID:ENCRYPTED.",
                hint="Copy the whole token that you got for the work package.",
            )
        return cls(match[1], match[2])

    def bearer(self, private_key: bytes) -> str:
        """Open the secret with the user's private key; :class:`~connector.errors.RefusedError` if it does not fit."""
        return open_text(self.sealed, private_key)
