"""URLs signed without boto3: equal to those of boto3, and valid as HTTP clients send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import httpx
import pytest

from persistence.errors import CredentialsRefused, InvalidSettings
from persistence.objects.s3 import S3Settings, S3Storage
from persistence.objects.s3.settings import connect
from persistence.testing.gateway import NetworkSender
from persistence.testing.servers import S3Endpoint

pytestmark = pytest.mark.anyio

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
VIRTUAL = {"addressing": "virtual"}


@pytest.fixture(
    params=[
        {}, VIRTUAL, {"session_token": "a/token+=="}, {"region": "eu-central-1"},
        {"endpoint_url": "http://localhost:7480"}, {"endpoint_url": "https://storage.example.org:443"},
        {"endpoint_url": "https://S3.Example.ORG"}, {"endpoint_url": "https://S3.Example.ORG:443/", **VIRTUAL},
        {"endpoint_url": "http://127.0.0.1:7480", **VIRTUAL}, {"endpoint_url": "http://127.0.0.1/", **VIRTUAL},
        {"endpoint_url": "http://[::1]:7480"}, {"endpoint_url": "http://[::1]:7480", **VIRTUAL},
        {"endpoint_url": "http://localhost:7480/prefix/"}, {"endpoint_url": "http://s3.example.org:80/", **VIRTUAL},
    ],
    ids=str,
)  # fmt: skip
def settings(request: pytest.FixtureRequest) -> S3Settings:
    given: dict[str, Any] = {"endpoint_url": "https://s3.example.org", "access_key": "key", "secret_key": "s/ecret+"}
    return S3Settings(**{**given, **request.param})


def parts(url: str) -> tuple[str, str, dict[str, str]]:
    # Clients send the host in lower case and without a default port, whatever the URL has; so it is signed.
    sent = httpx.URL(url)
    return (
        f"{sent.scheme}://{sent.netloc.decode()}",
        sent.raw_path.decode().partition("?")[0],
        dict(parse_qsl(urlsplit(url).query)),
    )


@pytest.mark.parametrize("bucket", ["bucket", "a.bucket", "tenant:bucket"])
async def test_urls_are_those_of_boto3(settings: S3Settings, bucket: str) -> None:
    upload = {"UploadId": "2~Ab.c-d_e", "PartNumber": 17}
    named = {"ResponseContentDisposition": 'attachment; filename="a b.c4gh"'}
    with_md5 = {**upload, "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    client: Any = connect(settings)[0]
    async with S3Storage(settings) as s:
        pairs: list[tuple[str, dict[str, Any], Callable[[], Awaitable[str]]]] = [
            ("get_object", {}, lambda: s.presign_get(bucket, "An.object_-1", expires=60)),
            ("get_object", named, lambda: s.presign_get(bucket, "An.object_-1", expires=60, file_name="a b.c4gh")),
            ("put_object", {}, lambda: s.presign_put(bucket, "An.object_-1", expires=60)),
            ("upload_part", upload, lambda: s.presign_part(bucket, "An.object_-1", "2~Ab.c-d_e", 17, expires=60)),
            (
                "upload_part",
                with_md5,
                lambda: s.presign_part(bucket, "An.object_-1", "2~Ab.c-d_e", 17, expires=60, md5=MD5),
            ),
        ]
        for operation, more, call in pairs:
            parameters = {"Bucket": bucket, "Key": "An.object_-1", **more}
            for _ in range(5):
                theirs = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=60)
                ours = await call()
                # Both read the clock; it may tick between them.
                if parts(ours)[2]["X-Amz-Date"] == parts(theirs)[2]["X-Amz-Date"]:
                    break
            assert parts(ours) == parts(theirs)


@pytest.mark.parametrize(
    ("bucket", "place"),
    [
        ("bucket", "https://bucket.s3.eu-central-1.amazonaws.com/object"),
        ("a.bucket", "https://s3.eu-central-1.amazonaws.com/a.bucket/object"),
    ],
)
async def test_urls_of_amazon_are_signed_with_the_credentials_that_boto3_finds(
    bucket: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "found", "SECRET_ACCESS_KEY": "secret", "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    async with S3Storage(S3Settings(region="eu-central-1", addressing="auto")) as storage:
        url = await storage.presign_put(bucket, "object", expires=60)
    query = dict(parse_qsl(urlsplit(url).query))
    assert url.partition("?")[0] == place
    assert query["X-Amz-Credential"].startswith("found/")
    assert query["X-Amz-Security-Token"] == "token"


async def test_without_credentials_no_url_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, "/nowhere")
    async with S3Storage(S3Settings("http://localhost:1")) as storage:
        with pytest.raises(CredentialsRefused):
            await storage.presign_get("bucket", "object", expires=60)


@pytest.mark.parametrize("host", ["LOCALHOST", "127.0.0.1", "LocalHost"])
@pytest.mark.parametrize("addressing", ["path", "virtual"])
async def test_urls_of_any_host_are_valid(s3: S3Endpoint, host: str, addressing: str) -> None:
    if addressing == "virtual" and host != "127.0.0.1":
        pytest.skip("virtual hosts need a name server")
    url = f"http://{host}:{urlsplit(s3.url).port}/"
    bucket = f"hosts-{uuid4().hex[:8]}"
    async with S3Storage(S3Settings(url, s3.access_key, s3.secret_key, addressing=addressing)) as storage:  # type: ignore[arg-type]
        await storage.create_bucket(bucket)
        put = await storage.presign_put(bucket, "object", expires=60)
        assert (await NetworkSender().send("PUT", put, body=b"content")).status == 200
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(await storage.presign_get(bucket, "object", expires=60))
        assert (response.status_code, response.content) == (200, b"content")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:7480", "ftp://localhost", "http://", "http:///path", "http://localhost:port", "http://localhost:99999",
        "http://user:opensesame@localhost", "http://localhost?x=opensesame", "http://bücher.example", "http://[::1",
        "http://a b", "http://[fe80::1%25eth0]",
    ],
)  # fmt: skip
async def test_a_url_that_clients_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        S3Settings(url, "key", "secret")
    assert "opensesame" not in str(caught.value)
