"""Presigned URLs and forms."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.storage_cases.objects import read_all

cases: Cases[StorageHarness] = Cases()


def form_bucket(h: StorageHarness, bucket: str) -> str:
    """The name of a bucket of the suite for forms, whose sender has no user from which to take the tenant."""
    return f"suite:{bucket}" if "forms-name-the-tenant" in h.differences and ":" not in bucket else bucket


@cases
async def a_url_reads_an_object(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        url = await h.storage.presign_get(bucket, "object", expires=60)
        answer = await h.sender.send("GET", url)
        assert (answer.status, answer.body) == (200, b"0123456789")
        assert answer.headers["etag"].strip('"') == hashlib.md5(b"0123456789").hexdigest()


@cases
async def a_url_reads_a_range(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        url = await h.storage.presign_get(bucket, "object", expires=60)
        answer = await h.sender.send("GET", url, headers={"Range": "bytes=2-5"})
        assert (answer.status, answer.body) == (206, b"2345")
        assert answer.headers["content-range"] == "bytes 2-5/10"


@cases
async def a_url_names_the_file(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=60, file_name="sample 1.c4gh")
        answer = await h.sender.send("GET", url)
        assert answer.headers["content-disposition"] == 'attachment; filename="sample 1.c4gh"'


@cases
async def a_url_names_the_file_in_any_script(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=60, file_name='Prübe "1"')
        disposition = (await h.sender.send("GET", url)).headers["content-disposition"]
        assert disposition.endswith("filename*=UTF-8''Pr%C3%BCbe%20%221%22")


@cases
async def a_url_says_its_lifetime(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        url = await h.storage.presign_get(bucket, "object", expires=60)
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Expires"] == ["60"]
        assert len(query["X-Amz-Date"][0]) == 16


@cases
async def a_url_for_a_missing_object_finds_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        url = await h.storage.presign_get(bucket, "nothing", expires=60)
        assert (await h.sender.send("GET", url)).status == 404


@cases
async def a_url_expires(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=1)
        await h.wait(2.2)
        assert (await h.sender.send("GET", url)).status == 403


@cases
async def an_altered_url_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        await h.storage.put_object(bucket, "secret", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=60)
        assert (await h.sender.send("GET", url.replace("/object?", "/secret?"))).status == 403


@cases
async def a_prolonged_url_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=60)
        assert (await h.sender.send("GET", url.replace("Expires=60", "Expires=600"))).status == 403


@cases
async def a_url_to_read_does_not_write(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_get(bucket, "object", expires=60)
        assert (await h.sender.send("PUT", url, body=b"other")).status == 403
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def a_url_puts_an_object(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        url = await h.storage.presign_put(bucket, "object", expires=60)
        assert (await h.sender.send("PUT", url, body=b"content")).status == 200
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def a_url_to_write_does_not_read(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        url = await h.storage.presign_put(bucket, "object", expires=60)
        assert (await h.sender.send("GET", url)).status == 403


@cases
async def urls_put_parts(h: StorageHarness) -> None:
    contents = [b"1" * h.part_size, b"the end"]
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        for number, content in enumerate(contents, 1):
            url = await h.storage.presign_part(bucket, "object", upload, number, expires=60)
            answer = await h.sender.send("PUT", url, body=content)
            assert answer.status == 200
            assert answer.headers["etag"].strip('"') == hashlib.md5(content).hexdigest()
        await h.storage.complete_upload(bucket, "object", upload, expected_parts=2)
        assert await read_all(h, bucket, "object") == b"".join(contents)


@cases
async def a_part_url_is_for_its_number_only(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=60)
        assert "partNumber=1" in url
        answer = await h.sender.send("PUT", url.replace("partNumber=1", "partNumber=2"), body=b"x")
        assert answer.status == 403
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases
async def a_part_url_expires(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=1)
        await h.wait(2.2)
        assert (await h.sender.send("PUT", url, body=b"x")).status == 403


@cases
async def a_part_url_of_a_missing_upload_finds_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.abort_upload(bucket, "object", upload)
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=60)
        assert (await h.sender.send("PUT", url, body=b"x")).status == 404


@cases
async def a_part_url_with_md5_takes_that_content(h: StorageHarness) -> None:
    digest = hashlib.md5(b"part")
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=60, md5=digest.hexdigest())
        headers = {"Content-MD5": base64.b64encode(digest.digest()).decode()}
        assert (await h.sender.send("PUT", url, headers=headers, body=b"part")).status == 200
        assert [part.size for part in await h.storage.list_parts(bucket, "object", upload)] == [4]


@cases
async def a_part_url_with_md5_refuses_other_content(h: StorageHarness) -> None:
    digest = hashlib.md5(b"part")
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=60, md5=digest.hexdigest())
        headers = {"Content-MD5": base64.b64encode(digest.digest()).decode()}
        assert (await h.sender.send("PUT", url, headers=headers, body=b"trap")).status == 400
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases
async def a_part_url_with_md5_refuses_another_md5(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        wanted = hashlib.md5(b"part").hexdigest()
        url = await h.storage.presign_part(bucket, "object", upload, 1, expires=60, md5=wanted)
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(b"trap").digest()).decode()}
        assert (await h.sender.send("PUT", url, headers=headers, body=b"trap")).status in (400, 403)
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases
async def a_form_posts_an_object(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        form = await h.storage.presign_post(form_bucket(h, bucket), "object", expires=60, max_size=100)
        assert (await h.sender.post(form, b"content")).status in (200, 201, 204)
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def a_form_refuses_too_much(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        form = await h.storage.presign_post(form_bucket(h, bucket), "object", expires=60, max_size=100)
        assert 400 <= (await h.sender.post(form, b"x" * 101)).status < 500
        assert not await h.storage.object_exists(bucket, "object")


@cases
async def a_form_is_for_its_object_only(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        form = await h.storage.presign_post(form_bucket(h, bucket), "object", expires=60, max_size=100)
        other = type(form)(form.url, {**form.fields, "key": "other"})
        assert (await h.sender.post(other, b"content")).status == 403
        assert not await h.storage.object_exists(bucket, "other")


@cases
async def a_form_expires(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        form = await h.storage.presign_post(form_bucket(h, bucket), "object", expires=1, max_size=100)
        await h.wait(2.2)
        assert (await h.sender.post(form, b"content")).status in (400, 403)
        assert not await h.storage.object_exists(bucket, "object")
