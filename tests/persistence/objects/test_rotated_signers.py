from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from persistence.errors import SignatureRefused
from persistence.objects.signing import UrlSigner


def check(signer: UrlSigner, url: str) -> None:
    parts = urlsplit(url)
    signer.verify("GET", parts.path, dict(parse_qsl(parts.query)))


def test_the_current_secret_signs_and_older_ones_still_hold() -> None:
    secrets = [b"1" * 32]
    signer = UrlSigner("http://here/storage", lambda: secrets, lambda: 1000.0)
    old = signer.sign("GET", "bucket", "object", expires=60)
    form = signer.sign_post("bucket", "object", expires=60, max_size=9)
    secrets.insert(0, b"2" * 32)
    new = signer.sign("GET", "bucket", "object", expires=60)
    assert old != new
    check(signer, old)
    check(signer, new)
    assert signer.verify_post("/storage/bucket", form.fields).max_size == 9
    secrets.pop()
    check(signer, new)
    with pytest.raises(SignatureRefused):
        check(signer, old)
    with pytest.raises(SignatureRefused):
        signer.verify_post("/storage/bucket", form.fields)
