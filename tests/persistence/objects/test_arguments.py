"""Any arguments to any method: only errors of this package, or of the caller's own iterables, are raised."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persistence.errors import PersistenceError
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage
from persistence.objects.s3 import S3Storage
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import settings_of

pytestmark = pytest.mark.slow

SIGNER = UrlSigner("http://storage.test", b"0" * 16, lambda: 0.0)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def released() -> memoryview:
    view = memoryview(bytearray(4))
    view.release()
    return view


async def stream(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


odd = st.one_of(
    st.none(), st.booleans(), st.floats(), st.binary(max_size=4), st.lists(st.integers(), max_size=3),
    st.integers(-(2**70), 2**70), st.just(10**5000), st.just(object()), st.text(max_size=5),
    st.just("\ud800"), st.just("a" * 5000),
)  # fmt: skip
buckets = st.sampled_from(["bucket", "bucket", "bucket", "missing", "a.b", "t:b", "A", ""]) | odd
object_ids = st.sampled_from(["object", "object", "other", ".", "a/b", "x" * 256]) | odd
numbers = st.sampled_from([0, 1, 2, 5, 10, 11, 2**31, 2**63, 2**64, -1]) | odd
VIEWS = [
    lambda: memoryview(bytearray(4)), lambda: memoryview(bytearray(8))[::2], lambda: memoryview(bytearray(8))[::-1],
    lambda: memoryview(array("I", [1, 2])), lambda: memoryview(bytearray(8)).cast("B", (2, 4)),
    lambda: memoryview(bytearray(8)).cast("H", (2, 2)), lambda: memoryview(b"read-only"),
    lambda: memoryview(bytearray()), lambda: memoryview(array("d")), released, lambda: bytearray(4),
    lambda: array("Q", [1]),
]  # fmt: skip


def _made(make: Callable[[], Any]) -> Any:
    return make()


views = st.sampled_from(VIEWS).map(_made)
contents = views | odd | st.builds(stream, views, odd) | st.builds(stream, odd)
digests = st.sampled_from(["d41d8cd98f00b204e9800998ecf8427e", "", "zz", "é" * 32, None]) | odd
upload_ids = st.sampled_from(["0" * 32, "upload.closing", "..", "a/b"]) | odd

CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bucket_exists": ({"bucket": buckets}, {}),
    "create_bucket": ({"bucket": buckets}, {}),
    "delete_bucket": ({"bucket": buckets.filter(lambda name: name != "bucket")}, {"with_content": odd}),
    "object_exists": ({"bucket": buckets, "object_id": object_ids}, {}),
    "stat": ({"bucket": buckets, "object_id": object_ids}, {}),
    "list_objects": ({"bucket": buckets}, {"prefix": object_ids}),
    "delete_object": ({"bucket": buckets, "object_id": object_ids}, {}),
    "delete_objects": ({"bucket": buckets, "object_ids": st.lists(object_ids, max_size=3) | odd}, {}),
    "copy_object": (
        {"bucket": buckets, "object_id": object_ids, "to_bucket": buckets, "to_object_id": object_ids},
        {"byte_range": st.tuples(numbers, numbers) | odd},
    ),
    "read_into": ({"bucket": buckets, "object_id": object_ids, "start": numbers, "buffer": views | odd}, {}),
    "open_range": ({"bucket": buckets, "object_id": object_ids}, {"start": numbers, "stop": numbers}),
    "put_object": ({"bucket": buckets, "object_id": object_ids, "data": contents}, {"overwrite": odd}),
    "presign_get": ({"bucket": buckets, "object_id": object_ids, "expires": numbers}, {"file_name": object_ids}),
    "presign_put": ({"bucket": buckets, "object_id": object_ids, "expires": numbers}, {}),
    "presign_post": ({"bucket": buckets, "object_id": object_ids, "expires": numbers, "max_size": numbers}, {}),
    "presign_part": (
        {"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids, "number": numbers, "expires": numbers},
        {"md5": digests},
    ),
    "start_upload": ({"bucket": buckets, "object_id": object_ids}, {}),
    "put_part": (
        {"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids, "number": numbers, "data": contents},
        {"md5": digests},
    ),
    "upload_exists": ({"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids}, {}),
    "list_parts": (
        {"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids},
        {"first": numbers, "limit": numbers},
    ),
    "list_uploads": ({"bucket": buckets}, {"object_id": object_ids}),
    "complete_upload": (
        {"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids},
        {"expected_parts": numbers, "expected_part_size": numbers},
    ),
    "abort_upload": ({"bucket": buckets, "object_id": object_ids, "upload_id": upload_ids}, {}),
}


async def call(storage: ObjectStorage, method: str, arguments: dict[str, Any], *, real_upload: bool) -> None:
    """Make a call, and read what it returns."""
    with contextlib.suppress(PersistenceError):
        if not await storage.bucket_exists("bucket"):
            await storage.create_bucket("bucket")
        await storage.put_object("bucket", "object", b"0123456789")
        if real_upload and "upload_id" in arguments:
            arguments = {**arguments, "upload_id": await storage.start_upload("bucket", "object")}
        result = getattr(storage, method)(**arguments)
        if method == "list_objects":
            async for _ in result:
                pass
        elif method == "open_range":
            async with result as pieces:
                async for _ in pieces:
                    pass
        else:
            await result


@contextlib.contextmanager
def opened(backend: str, storage: ObjectStorage) -> Iterator[anyio.from_thread.BlockingPortal]:
    with anyio.from_thread.start_blocking_portal(backend) as portal:
        with portal.wrap_async_context_manager(storage):
            yield portal


def fuzz(portal: anyio.from_thread.BlockingPortal, storage: ObjectStorage, method: str, examples: int) -> None:
    required, optional = CALLS[method]

    @settings(SETTINGS, max_examples=examples)
    @given(arguments=st.fixed_dictionaries(required, optional=optional), real_upload=st.booleans())
    def run(arguments: dict[str, Any], real_upload: bool) -> None:
        portal.call(lambda: call(storage, method, arguments, real_upload=real_upload))

    run()


@pytest.mark.parametrize("method", CALLS)
def test_memory_raises_nothing_else(method: str) -> None:
    storage = MemoryStorage()
    with opened("asyncio", storage) as portal:
        fuzz(portal, storage, method, 60)


@pytest.mark.parametrize("method", CALLS)
def test_filesystem_raises_nothing_else(method: str, tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path, signing=SIGNER)
    with opened("trio", storage) as portal:
        fuzz(portal, storage, method, 60)


def test_s3_raises_nothing_else(s3: S3Endpoint) -> None:
    storage = S3Storage(settings_of(s3))
    with opened("asyncio", storage) as portal:
        for method in CALLS:
            fuzz(portal, storage, method, 10)


@SETTINGS
@given(
    path=st.text() | st.just("/bucket/object"), method=st.text(max_size=4),
    query=st.dictionaries(
        st.sampled_from(["X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature", "partNumber", "X-Amz-SignedHeaders"]),
        st.text() | st.sampled_from(["20260101T000000Z", "60", "9" * 5000, "content-md5;host", "\ud800"]),
    ),
    md5=st.none() | st.text(),
)  # fmt: skip
def test_verifying_raises_nothing_else(path: str, method: str, query: dict[str, str], md5: str | None) -> None:
    with contextlib.suppress(PersistenceError):
        SIGNER.verify(method, path, query, content_md5=md5)
    with contextlib.suppress(PersistenceError):
        SIGNER.verify_post(path, {"key": path, "policy": md5 or "", "x-amz-signature": query.get("X-Amz-Date", "")})
