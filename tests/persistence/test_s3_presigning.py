"""Our signing of URLs gives what boto3's does."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from persistence.providers.s3 import S3Settings, S3Storage
from persistence.providers.s3.settings import make_client

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


@pytest.mark.parametrize("call", ["get", "get_named", "put", "part", "part_md5"])
async def test_urls_are_those_of_boto3(call: str, settings: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    object_id = "An.object_-1"
    upload = {"UploadId": "2~Ab.c-d_e", "PartNumber": 17}
    operations: dict[str, tuple[str, dict[str, Any]]] = {
        "get": ("get_object", {}),
        "get_named": ("get_object", {"ResponseContentDisposition": 'attachment; filename="a b.c4gh"'}),
        "put": ("put_object", {}),
        "part": ("upload_part", upload),
        "part_md5": ("upload_part", {**upload, "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
    }
    operation, more = operations[call]
    async with S3Storage(settings) as storage:
        calls = {
            "get": lambda: storage.presign_get("bucket", object_id, expires=60),
            "get_named": lambda: storage.presign_get("bucket", object_id, expires=60, file_name="a b.c4gh"),
            "put": lambda: storage.presign_put("bucket", object_id, expires=60),
            "part": lambda: storage.presign_part("bucket", object_id, "2~Ab.c-d_e", 17, expires=60),
            "part_md5": lambda: storage.presign_part("bucket", object_id, "2~Ab.c-d_e", 17, expires=60, md5=MD5),
        }
        client: Any = make_client(settings)
        for _ in range(5):
            theirs = client.generate_presigned_url(
                operation, Params={"Bucket": "bucket", "Key": object_id, **more}, ExpiresIn=60
            )
            ours = await calls[call]()
            if parts(ours)[2]["X-Amz-Date"] == parts(theirs)[2]["X-Amz-Date"]:
                break
    assert parts(ours) == parts(theirs)
