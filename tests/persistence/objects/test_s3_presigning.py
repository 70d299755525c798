"""Our signing of URLs gives what boto3's does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from persistence.objects.s3 import S3Settings, S3Storage
from persistence.objects.s3.settings import make_client

pytestmark = pytest.mark.anyio

DEFAULT_PORT = ":443"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture(
    params=[
        {}, {"addressing": "virtual"}, {"session_token": "a/token+=="}, {"region": "eu-central-1"},
        {"endpoint_url": "http://localhost:7480"}, {"endpoint_url": "https://storage.example.org:443"},
    ],
    ids=str,
)  # fmt: skip
def settings(request: pytest.FixtureRequest) -> S3Settings:
    given: dict[str, Any] = {"endpoint_url": "https://s3.example.org", "access_key": "key", "secret_key": "s/ecret+"}
    return S3Settings(**{**given, **request.param})


def parts(url: str) -> tuple[str, str, dict[str, str]]:
    split = urlsplit(url)
    # The default port may be said or not; it is never signed.
    return f"{split.scheme}://{split.netloc.removesuffix(DEFAULT_PORT)}", split.path, dict(parse_qsl(split.query))


async def test_urls_are_those_of_boto3(settings: S3Settings) -> None:
    upload = {"UploadId": "2~Ab.c-d_e", "PartNumber": 17}
    named = {"ResponseContentDisposition": 'attachment; filename="a b.c4gh"'}
    with_md5 = {**upload, "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    client: Any = make_client(settings)
    async with S3Storage(settings) as s:
        pairs: list[tuple[str, dict[str, Any], Callable[[], Awaitable[str]]]] = [
            ("get_object", {}, lambda: s.presign_get("bucket", "An.object_-1", expires=60)),
            ("get_object", named, lambda: s.presign_get("bucket", "An.object_-1", expires=60, file_name="a b.c4gh")),
            ("put_object", {}, lambda: s.presign_put("bucket", "An.object_-1", expires=60)),
            ("upload_part", upload, lambda: s.presign_part("bucket", "An.object_-1", "2~Ab.c-d_e", 17, expires=60)),
            (
                "upload_part",
                with_md5,
                lambda: s.presign_part("bucket", "An.object_-1", "2~Ab.c-d_e", 17, expires=60, md5=MD5),
            ),
        ]
        for operation, more, call in pairs:
            parameters = {"Bucket": "bucket", "Key": "An.object_-1", **more}
            for _ in range(5):
                theirs = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=60)
                ours = await call()
                # Both read the clock; it may tick between them.
                if parts(ours)[2]["X-Amz-Date"] == parts(theirs)[2]["X-Amz-Date"]:
                    break
            assert parts(ours) == parts(theirs)
