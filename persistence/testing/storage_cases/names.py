"""Names: which ones are refused everywhere before any request, and which ones work everywhere."""

from __future__ import annotations

import secrets

from persistence.errors import InvalidName, PersistenceError, Rejected, UploadNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.objects import read_all
from persistence.testing.storage_cases.presigned import form_bucket

cases: Cases[StorageHarness] = Cases()


@cases.each(
    short="ab",
    long="a" * 64,
    upper="Bucket",
    underscore="a_bucket",
    two_dots="a..bucket",
    dot_and_hyphen="a.-bucket",
    address="192.168.0.1",
    dot_at_the_end="bucket.",
    no_tenant=":bucket",
    two_tenants="a:b:bucket",
    tenant_with_hyphen="a-b:bucket",
    tenant_alone="tenant:",
    hyphen="bucket-",
    empty="",
    slash="a/bucket",
    space="a bucket",
    umlaut="bücket",
    newline="bucket\n",
)
async def a_bad_bucket_name_is_refused(h: StorageHarness, name: object) -> None:
    assert isinstance(name, str)
    with raises(InvalidName) as caught:
        await h.storage.create_bucket(name)
    assert isinstance(caught.error, Rejected)
    with raises(InvalidName):
        await h.storage.bucket_exists(name)


@cases.each(dots="a.{}.b", tenant="suite:{}", tenant_and_dots="suite:a.{}")
async def a_bucket_with_dots_or_a_tenant_works(h: StorageHarness, pattern: object) -> None:
    bucket = str(pattern).format(f"suite-{secrets.token_hex(8)}")
    if ":" in bucket and "no-tenants" in h.differences:
        with raises(PersistenceError):
            await h.storage.create_bucket(bucket)
        return
    await h.storage.create_bucket(bucket)
    try:
        assert await h.storage.bucket_exists(bucket)
        assert bucket.rpartition(":")[2] in [name.rpartition(":")[2] for name in await h.storage.list_buckets()]
        await h.storage.put_object(bucket, "object", b"content")
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy")
        assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == ["copy", "object"]
        answer = await h.sender.send("GET", await h.storage.presign_get(bucket, "copy", expires=60))
        assert (answer.status, answer.body) == (200, b"content")
        upload = await h.storage.start_upload(bucket, "parts")
        url = await h.storage.presign_part(bucket, "parts", upload, 1, expires=60)
        assert (await h.sender.send("PUT", url, body=b"part")).status == 200
        assert [ref.upload_id for ref in await h.storage.list_uploads(bucket)] == [upload]
        await h.storage.complete_upload(bucket, "parts", upload)
        assert await read_all(h, bucket, "parts") == b"part"
        form = await h.storage.presign_post(form_bucket(h, bucket), "posted", expires=60, max_size=100)
        assert (await h.sender.post(form, b"posted")).status in (200, 201, 204)
        assert await h.storage.delete_objects(bucket, ["object", "copy", "posted"]) == {}
    finally:
        await h.storage.delete_bucket(bucket, with_content=True)
    assert not await h.storage.bucket_exists(bucket)


@cases.each(
    empty="",
    long="a" * 256,
    slash="a/b",
    backslash="a\\b",
    dot=".",
    dots="..",
    hidden=".a",
    trailing_dot="a.",
    space="a b",
    umlaut="ä",
    percent="a%2Fb",
    nul="a\0b",
    newline="a\n",
    question="a?b",
)
async def a_bad_object_id_is_refused(h: StorageHarness, name: object) -> None:
    assert isinstance(name, str)
    async with h.bucket() as bucket:
        with raises(InvalidName):
            await h.storage.put_object(bucket, name, b"")
        with raises(InvalidName):
            await h.storage.stat(bucket, name)
        with raises(InvalidName):
            await h.storage.presign_get(bucket, name, expires=60)
        with raises(InvalidName):
            await h.storage.start_upload(bucket, name)


@cases.each(
    one="a",
    long="x" * 255,
    long_upper="X" * 255,
    case="Aa-aA",
    uuid="6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    windows="con",
    windows_dotted="nul.tar",
    dotted="a.b.c",
    dashes="-a-",
    underscore="__",
    equals_like="ca",
)
async def a_good_object_id_works(h: StorageHarness, name: object) -> None:
    assert isinstance(name, str)
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, name, name.encode())
        assert await read_all(h, bucket, name) == name.encode()
        assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == [name]
        answer = await h.sender.send("GET", await h.storage.presign_get(bucket, name, expires=60))
        assert (answer.status, answer.body) == (200, name.encode())


@cases
async def ids_that_differ_in_case_are_different(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        for name in ("abc", "ABC", "aBc"):
            await h.storage.put_object(bucket, name, name.encode())
        for name in ("abc", "ABC", "aBc"):
            assert await read_all(h, bucket, name) == name.encode()


@cases.each(zero=0, negative=-1, too_many=10_001)
async def a_bad_part_number_is_refused(h: StorageHarness, number: object) -> None:
    assert isinstance(number, int)
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(InvalidName):
            await h.storage.put_part(bucket, "object", upload, number, b"x")
        with raises(InvalidName):
            await h.storage.presign_part(bucket, "object", upload, number, expires=60)


@cases.each(zero=0, negative=-5, too_long=604_801)
async def a_bad_lifetime_is_refused(h: StorageHarness, seconds: object) -> None:
    assert isinstance(seconds, int)
    async with h.bucket() as bucket:
        with raises(InvalidName):
            await h.storage.presign_get(bucket, "object", expires=seconds)
        with raises(InvalidName):
            await h.storage.presign_put(bucket, "object", expires=seconds)
        with raises(InvalidName):
            await h.storage.presign_post(bucket, "object", expires=seconds, max_size=1)


@cases.each(up="../x", dots="..", slash="a/b", backslash="a\\b", space="a b", empty="", long="a" * 1025)
async def a_bad_upload_id_reaches_nothing(h: StorageHarness, upload_id: object) -> None:
    assert isinstance(upload_id, str)
    async with h.bucket() as bucket:
        with raises(PersistenceError) as caught:
            await h.storage.list_parts(bucket, "object", upload_id)
        assert isinstance(caught.error, UploadNotFound | InvalidName)
