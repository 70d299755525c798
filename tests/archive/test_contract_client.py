"""The wire contract, from outside: a client that knows nothing but the contract against a real server process."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.models import Box
from connector.archive.providers import make_documents
from connector.archive.tokens import TokenIssuer, WorkOrder
from tests.support.archive_process import serving
from tests.support.contract_client import (
    MIB,
    SEALED_SEGMENT,
    ContractClient,
    SealedFile,
    bearer,
    claims_of,
    seal,
    unseal,
)
from tests.support.served_archive import ServedArchive

MakeUser = Callable[..., ContractClient]
Registered = Callable[..., tuple[str, bytes]]


def check_error(answer: httpx.Response, status: int, exception_id: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) - {"detail"} == {"exception_id", "description", "data"}
    assert body["exception_id"] == exception_id
    assert body["description"]
    assert isinstance(body["data"], dict)


def check_invalid(answer: httpx.Response, *where: str) -> None:
    """What does not have the agreed form is answered as the services' web framework does it."""
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["detail"]
    assert set(answer.json()) == {"detail"}
    assert fault["msg"]
    assert fault["loc"] == list(where)


def check_plain(answer: httpx.Response, status: int) -> None:
    """Refusals of work packages, and of tokens, have nothing but a text."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    assert isinstance(answer.json()["detail"], str)


def until_gone(request: Callable[[], httpx.Response]) -> httpx.Response:
    """Repeat a request until it is answered with 404: what a deleted file took up is freed a moment later."""
    deadline = time.monotonic() + 180
    while (answer := request()).status_code != 404:
        assert time.monotonic() < deadline, answer.status_code
        time.sleep(0.05)
    return answer


class TestWellKnownValues:
    def test_values_name_the_apis_and_the_hub_key(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        assert set(user.values) >= {"crypt4gh_public_keys", "wps_api_url", "dcs_api_url", "ucs_api_url"}
        assert user.values["storage_labels"].keys() == user.values["crypt4gh_public_keys"].keys()
        assert len(user.hub_key) == 32

    def test_every_api_says_that_it_is_healthy(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        for name in ("wps_api_url", "dcs_api_url", "ucs_api_url"):
            answer = http.get(f"{user.values[name]}/health")
            assert (answer.status_code, answer.json()) == (200, {"status": "OK"})


class TestWorkPackages:
    def test_upload_package(self, uploader: MakeUser) -> None:
        body = uploader().package().json()
        assert body["type"] == "upload"
        assert body["files"] == {}
        assert body["research_data_upload_box_id"] != body["file_upload_box_id"]
        assert body["created"] < body["expires"]

    def test_download_package_maps_accessions_to_extensions(self, registered: Registered, downloader: MakeUser) -> None:
        accession, _ = registered("run1/sample.vcf.gz")
        body = downloader([accession]).package().json()
        assert body["type"] == "download"
        assert body["files"] == {accession: ".vcf.gz"}
        assert body["research_data_upload_box_id"] is None
        assert body["file_upload_box_id"] is None

    def test_access_token_has_24_characters(self, uploader: MakeUser) -> None:
        assert len(uploader().secret) == 24

    def test_wrong_token_and_unknown_package_are_refused_alike(self, uploader: MakeUser) -> None:
        user = uploader()
        wrong = user.package(token="x" * 24)
        user.package_id = str(uuid4())
        unknown = user.package()
        assert wrong.status_code == unknown.status_code == 403
        assert wrong.json() == unknown.json()
        check_plain(wrong, 403)

    def test_no_token_is_refused(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        check_plain(http.get(f"{user.values['wps_api_url']}/work-packages/{user.package_id}"), 401)

    def test_ids_that_are_none(self, uploader: MakeUser) -> None:
        user = uploader()
        check_invalid(user.order("boxes/mine", {"work_type": "view"}), "path", "rdub_id")
        user.package_id = "mine"
        check_invalid(user.package(), "path", "package_id")

    def test_download_order(self, registered: Registered, downloader: MakeUser) -> None:
        accession, _ = registered()
        user = downloader([accession])
        asked = int(time.time())
        answer = user.order(f"files/{accession}")
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "max-age=30, private"
        claims = claims_of(user.unlock(answer.json()))
        assert set(claims) == {"work_type", "file_id", "accession", "user_public_crypt4gh_key", "iat", "exp"}
        assert claims["work_type"] == "download"
        assert claims["accession"] == accession
        assert claims["exp"] - claims["iat"] == 30
        assert asked <= claims["iat"] <= time.time()

    def test_upload_orders_carry_what_they_are_for(self, uploader: MakeUser) -> None:
        user = uploader()
        box_id = user.package().json()["file_upload_box_id"]
        file_id = str(uuid4())
        create = claims_of(user.upload_token("create", alias="a"))
        assert (create["work_type"], create["box_id"], create["alias"]) == ("create", box_id, "a")
        assert "file_id" not in create
        for work_type in ("upload", "close", "delete"):
            sealed = user.upload_order(work_type, file_id=file_id)
            assert sealed.headers["cache-control"] == "max-age=30, private"
            claims = claims_of(user.unlock(sealed.json()))
            assert (claims["work_type"], claims["box_id"], claims["file_id"]) == (work_type, box_id, file_id)
        view = user.upload_order("view")
        assert claims_of(user.unlock(view.json()))["box_id"] == box_id
        assert view.headers["cache-control"] == "max-age=30, private"

    def test_orders_for_what_is_not_in_the_package(
        self, registered: Registered, downloader: MakeUser, uploader: MakeUser
    ) -> None:
        accession, _ = registered()
        other, _ = registered()
        user = downloader([accession])
        check_plain(user.order(f"files/{other}"), 403)
        assert user.order(f"boxes/{uuid4()}", {"work_type": "view"}).status_code == 403
        assert uploader().order(f"files/{accession}").status_code == 403
        assert uploader().order(f"boxes/{uuid4()}", {"work_type": "view"}).status_code == 403

    @pytest.mark.parametrize(
        "body",
        [
            {"work_type": "create"},
            {"work_type": "create", "alias": ""},
            {"work_type": "upload", "alias": "a"},
            {"work_type": "close"},
            {"work_type": "delete", "file_id": "not-a-uuid"},
            {"work_type": "download"},
            {"work_type": "steal"},
            {},
            [],
            "view",
        ],
    )
    def test_malformed_orders(self, uploader: MakeUser, body: object) -> None:
        user = uploader()
        rdub_id = user.package().json()["research_data_upload_box_id"]
        answer = user.order(f"boxes/{rdub_id}", body)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][0] == "body"


class TestUploads:
    def test_a_file_of_several_parts_is_archived(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        plaintext = os.urandom(12 * MIB + 345)
        file = user.seal(plaintext, part_size=5 * MIB + 7)
        assert len(file.parts) == 3
        file_id = user.upload("big.bin", file)
        row = archive.wait_for_file(file_id)
        assert row["accession"].startswith("GHGAF")
        assert row["sha256"] == hashlib.sha256(plaintext).hexdigest()
        assert row["decrypted_size"] == len(plaintext)
        items = user.list_uploads().json()["items"]
        assert [(item["id"], item["state"]) for item in items] == [(file_id, "archived")]

    @pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537])
    def test_sizes_around_a_segment(
        self, size: int, registered: Registered, downloader: MakeUser, http: httpx.Client
    ) -> None:
        accession, plaintext = registered(size=size)
        user = downloader([accession])
        answer = wait_for_staging(user, accession)
        content = http.get(answer["access_methods"][0]["access_url"]["url"]).content
        assert unseal(user.envelope(accession), content, user.private_key) == plaintext

    def test_creation_answer(self, uploader: MakeUser) -> None:
        user = uploader()
        answer = user.create("a.bam", user.seal(b"data"))
        assert answer.status_code == 201
        assert set(answer.json()) == {"file_id", "alias", "storage_alias"}
        assert answer.json()["alias"] == "a.bam"
        assert answer.json()["storage_alias"] in user.values["crypt4gh_public_keys"]

    def test_listing_pages_through_all_states(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        ids = {}
        for number in (3, 0, 7, 1, 9, 5, 4, 8, 6, 2, 11, 10):
            ids[f"f{number:02}"] = file_id = user.create(f"f{number:02}", file).json()["file_id"]
            assert user.delete(file_id).status_code == 204
        last = user.create("last", file).json()["file_id"]
        by_alias = [ids[alias] for alias in sorted(ids)]
        first_page = user.list_uploads().json()
        assert first_page["total_count"] == 13
        assert [item["id"] for item in first_page["items"]] == by_alias[:10]
        assert {item["state"] for item in first_page["items"]} == {"cancelled"}
        rest = user.list_uploads(skip=10, limit=1000).json()
        assert [(item["id"], item["state"]) for item in rest["items"]] == [
            (by_alias[10], "cancelled"),
            (by_alias[11], "cancelled"),
            (last, "init"),
        ]
        assert rest["items"][2]["alias"] == "last"
        assert rest["items"][2]["decrypted_size"] == 4
        assert rest["items"][2]["encrypted_size"] == 4 + 28 + 124
        assert user.list_uploads(skip=50).json()["items"] == []
        assert user.list_uploads(limit=0).json() == {"items": [], "total_count": 13}

    def test_a_listing_is_sorted_as_asked(self, uploader: MakeUser) -> None:
        user = uploader()
        for alias, size in (("b", 2), ("a", 2), ("c", 1)):
            user.create(alias, user.seal(bytes(size)))

        def aliases(*sort: str) -> str:
            return "".join(item["alias"] for item in user.list_uploads(sort=list(sort)).json()["items"])

        assert aliases() == "abc"
        assert aliases("-alias") == "cba"
        assert aliases("initiated") == "bac"
        assert aliases("decrypted_size", "-alias") == "cba"
        assert aliases("-decrypted_size", "alias") == "abc"

    @pytest.mark.parametrize(
        "query", [{"limit": 1001}, {"limit": -1}, {"skip": -1}, {"limit": "x"}, {"skip": "1.5"}, {"sort": "taste"}]
    )
    def test_bad_pages_are_refused(self, uploader: MakeUser, query: dict[str, object]) -> None:
        check_error(uploader().list_uploads(**query), 422, "paginationError")

    def test_listings_tell_checksums_only_when_asked(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(os.urandom(6 * MIB))
        file_id = user.upload("a", file)
        archive.wait_for_file(file_id)
        (plain,) = user.list_uploads().json()["items"]
        assert plain["encrypted_parts_md5"] is None
        assert plain["encrypted_parts_sha256"] is None
        assert plain["failure_reason"] is None
        assert plain["object_id"]
        assert plain["bucket_id"]
        assert plain["s3_upload_id"]
        assert plain["secret_id"]
        (full,) = user.list_uploads(with_checksums="true").json()["items"]
        claim = file.claim()
        assert full["encrypted_parts_md5"] == claim["encrypted_parts_md5"]
        assert full["encrypted_parts_sha256"] == claim["encrypted_parts_sha256"]

    def test_part_url_is_not_cacheable_and_can_be_used_again(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]
        answer = user.part_url(file_id, 1)
        assert answer.headers["cache-control"] == "no-store"
        assert http.put(answer.json(), content=b"damaged").status_code == 200
        assert http.put(answer.json(), content=file.content).status_code == 200
        assert user.close(file_id, file.claim()).status_code == 204

    def test_closing_again_is_no_error_whatever_it_says(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.upload("a", file)
        assert user.close(file_id, file.claim()).status_code == 204
        assert user.close(file_id, file.claim(decrypted_sha256="0" * 64)).status_code == 204
        assert user.close(file_id, user.seal(b"other").claim()).status_code == 204

    def test_closes_and_deletes_at_the_same_time(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        ids = []
        for number in range(5):
            ids.append(user.create(f"f{number}", file).json()["file_id"])
            user.put_parts(ids[-1], file.parts)
        with ThreadPoolExecutor(15) as threads:
            closed = list(threads.map(lambda one: user.close(one, file.claim()).status_code, ids * 3))
            deleted = list(threads.map(lambda one: user.delete(one).status_code, ids * 3))
        assert closed == [204] * 15
        assert deleted == [204] * 15
        assert {item["state"] for item in user.list_uploads().json()["items"]} == {"cancelled"}

    def test_deleting_frees_the_alias(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]
        url = user.part_url(file_id, 1).json()
        assert user.delete(file_id).status_code == 204
        assert user.delete(file_id).status_code == 204
        gone = until_gone(lambda: http.put(url, content=file.content))
        assert "<Code>NoSuchUpload</Code>" in gone.text
        assert user.create("a", file).status_code == 201

    def test_an_upload_that_is_replaced_leaves_no_record(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        first = user.create("a", file).json()["file_id"]
        check_error(user.create("a", file), 409, "fileUploadAlreadyExists")
        second = user.create("a", file, overwrite=True).json()["file_id"]
        assert user.delete(second).status_code == 204
        third = user.create("a", file).json()["file_id"]
        for gone in (first, second):
            check_error(user.part_url(gone, 1), 404, "fileUploadNotFound")
            check_error(user.delete(gone), 404, "fileUploadNotFound")
        items = user.list_uploads().json()["items"]
        assert [(item["id"], item["state"]) for item in items] == [(third, "init")]

    def test_an_archived_file_is_never_overwritten(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.upload("a", file)
        archive.wait_for_file(file_id)
        check_error(user.create("a", file, overwrite=True), 409, "fileUploadAlreadyExists")

    def test_an_archived_file_can_be_deleted_while_its_box_is_open(
        self, archive: ServedArchive, uploader: MakeUser, downloader: MakeUser, http: httpx.Client
    ) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.upload("a", file)
        accession = archive.wait_for_file(file_id)["accession"]
        reader = downloader([accession])
        url = wait_for_staging(reader, accession)["access_methods"][0]["access_url"]["url"]
        token = reader.download_token(accession)
        rdub_id = user.package().json()["research_data_upload_box_id"]
        archive.administer(lambda opened: admin.set_box_state(opened, rdub_id, "locked"))
        check_error(user.delete(file_id), 409, "boxStateError")
        archive.administer(lambda opened: admin.set_box_state(opened, rdub_id, "open"))
        assert user.delete(file_id).status_code == 204
        check_error(reader.drs_object(accession, token=token), 404, "noSuchObject")
        check_plain(reader.order(f"files/{accession}"), 404)
        until_gone(lambda: http.get(url))
        assert accession not in {row["accession"] for row in archive.administer(admin.list_files)}
        again = user.upload("a", user.seal(b"other"))
        assert archive.wait_for_file(again)["accession"] != accession

    @pytest.mark.parametrize(
        ("damage", "why"),
        [
            ("sha256", "sha256"),
            ("segment", "damaged"),
            ("envelope", "header"),
            ("recipient", "key"),
        ],
    )
    def test_bad_content_fails_and_may_be_replaced(
        self, damage: str, why: str, archive: ServedArchive, uploader: MakeUser
    ) -> None:
        user = uploader()
        file = user.seal(b"data" * 50_000)
        claim_changes = {}
        if damage == "sha256":
            claim_changes = {"decrypted_sha256": "1" * 64}
        elif damage == "recipient":
            file = seal(file.plaintext, sender=user.private_key, recipient=user.public_key)
        else:
            content = bytearray(file.content)
            content[150_000 if damage == "segment" else 3] ^= 1
            file = SealedFile(file.plaintext, bytes(content), file.part_size)
        file_id = user.create("a", file).json()["file_id"]
        user.put_parts(file_id, file.parts)
        assert user.close(file_id, file.claim(**claim_changes)).status_code == 204
        row = archive.wait_for_file(file_id, state="failed")
        assert why in row["failure_reason"]
        again = user.upload("a", user.seal(b"data"))
        archive.wait_for_file(again)


class TestUploadRefusals:
    def test_box_not_found(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        box_id = user.package().json()["file_upload_box_id"]
        file, url, token = user.seal(b"data"), user.uploads_url, user.upload_token("view")
        create = user.upload_token("create", alias="a")

        async def remove(opened: Archive) -> None:
            async with await make_documents(archive.config.documents) as documents:
                await (await documents.dao("boxes", Box, id_field="id")).delete(box_id)

        archive.administer(remove)
        check_error(user.http.get(url, headers=bearer(token)), 404, "boxNotFound")
        created = user.http.post(url, headers=bearer(create), json=file.announcement("a"))
        check_error(created, 404, "boxNotFound")

    def test_file_upload_not_found(self, uploader: MakeUser) -> None:
        user, other = uploader(), uploader()
        file = user.seal(b"data")
        unknown = str(uuid4())
        check_error(user.part_url(unknown, 1), 404, "fileUploadNotFound")
        check_error(user.close(unknown, file.claim()), 404, "fileUploadNotFound")
        check_error(user.delete(unknown), 404, "fileUploadNotFound")
        theirs = other.create("a", file).json()["file_id"]
        check_error(user.delete(theirs), 404, "fileUploadNotFound")

    def test_s3_upload_not_found(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]

        async def abort(opened: Archive) -> None:
            hub = opened.hubs.default
            for upload in await hub.storage.list_uploads(hub.buckets.inbox, file_id):
                await hub.storage.abort_upload(hub.buckets.inbox, file_id, upload.upload_id)

        archive.administer(abort)
        check_error(user.part_url(file_id, 1), 404, "s3UploadNotFound")
        check_error(user.close(file_id, file.claim()), 404, "s3UploadNotFound")
        assert user.create("a", file, overwrite=True).status_code == 201

    def test_ids_that_are_none(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        token = user.upload_token("view")
        url = f"{user.values['ucs_api_url']}/boxes/mine/uploads"
        check_invalid(http.get(url, headers=bearer(token)), "path", "box_id")
        check_plain(http.get(url), 401)
        delete = user.upload_token("delete", file_id=str(uuid4()))
        check_invalid(http.delete(f"{user.uploads_url}/mine", headers=bearer(delete)), "path", "file_id")

    def test_no_such_storage(self, archive: ServedArchive, uploader: MakeUser) -> None:
        async def create(opened: Archive) -> Box:
            return await opened.boxes.create(title="", storage_alias="elsewhere")

        user = uploader(box_id=archive.administer(create).id)
        check_error(user.create("a", user.seal(b"data")), 400, "noSuchStorage")

    @pytest.mark.parametrize("part_size", [5 * MIB - 1, 5 * 1024**3 + 1, 0, -1])
    def test_part_sizes_out_of_bounds(self, uploader: MakeUser, part_size: int) -> None:
        user = uploader()
        check_invalid(user.create("a", user.seal(b"data"), part_size=part_size), "body", "part_size")

    def test_too_many_parts(self, uploader: MakeUser) -> None:
        plain = 5 * MIB * 10_000
        segments = -(-plain // 65_536)
        sizes = {"decrypted_size": plain, "encrypted_size": plain + segments * 28 + 124}
        user = uploader()
        check_error(user.create("a", user.seal(b"data"), **sizes), 400, "invalidPartSize")
        small = uploader(max_size=plain - 1)  # which is looked at first
        check_error(small.create("a", small.seal(b"data"), **sizes), 507, "boxMaxSizeExceeded")

    def test_a_part_number_beyond_the_last(self, uploader: MakeUser) -> None:
        user = uploader()
        file_id = user.create("a", user.seal(b"data")).json()["file_id"]
        check_error(user.part_url(file_id, 2), 400, "invalidPartSize")
        check_error(user.part_url(file_id, 10_000), 400, "invalidPartSize")
        for number in (0, 10_001, "x", "-1"):
            check_invalid(user.part_url(file_id, number), "path", "part_no")

    def test_sizes_that_do_not_fit_together(self, uploader: MakeUser) -> None:
        user = uploader()
        check_invalid(user.create("a", user.seal(b"data"), encrypted_size=100), "body", "encrypted_size")
        check_invalid(user.create("a", user.seal(b"data"), decrypted_size=0), "body", "decrypted_size")
        check_invalid(user.create("a", user.seal(b"data"), decrypted_size="4"), "body")

    def test_parts_that_do_not_make_the_file_can_never_be_completed(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(os.urandom(11 * MIB))
        first, second, third = file.parts
        file_id = user.create("a", file).json()["file_id"]
        for parts in ([], [first], [first, second], [first, second[:-1], third], [first, second, third + first]):
            user.put_parts(file_id, parts)
            check_error(user.close(file_id, file.claim()), 500, "uploadCompletionError")
        # Ours: the right parts may still be put in their place.
        user.put_parts(file_id, file.parts)
        assert user.close(file_id, file.claim()).status_code == 204

    @pytest.mark.parametrize(
        ("wrong", "exception_id"),
        [
            ("size", "uploadSizeMismatch"),
            ("content", "checksumMismatch"),
            ("md5", "checksumMismatch"),
            ("part", "checksumMismatch"),
            ("count", "checksumMismatch"),
        ],
    )
    def test_what_differs_from_what_was_said_fails(
        self, archive: ServedArchive, uploader: MakeUser, wrong: str, exception_id: str
    ) -> None:
        user = uploader()
        file, other = user.seal(os.urandom(6 * MIB)), user.seal(b"data")
        first, second = file.parts
        file_id = user.create("a", file).json()["file_id"]
        user.put_parts(file_id, [first, second[:-1]] if wrong == "size" else file.parts)
        claims = {
            "size": file.claim(),
            "content": file.claim(**{**other.claim(), "encrypted_md5": "0" * 32 + "-2"}),
            "md5": file.claim(encrypted_md5="0" * 32 + "-2"),
            "part": file.claim(encrypted_parts_md5=[hashlib.md5(first).hexdigest()] * 2),
            "count": file.claim(encrypted_parts_sha256=[]),
        }
        check_error(user.close(file_id, claims[wrong]), 400, exception_id)
        check_error(user.close(file_id, file.claim()), 409, "fileUploadStateError")
        check_error(user.part_url(file_id, 1), 404, "s3UploadNotFound")
        (item,) = user.list_uploads().json()["items"]
        assert item["state"] == "failed"
        assert item["failure_reason"]
        row = archive.wait_for_file(file_id, state="failed")
        assert row["failure_reason"] == item["failure_reason"]
        assert user.create("a", file).status_code == 201

    def test_a_claim_that_is_none(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]
        user.put_parts(file_id, file.parts)
        for field, value in (
            ("encrypted_parts_sha256", ["x"]),
            ("encrypted_parts_md5", ["0" * 31]),
            ("encrypted_md5", "x"),
            ("decrypted_sha256", ""),
        ):
            check_invalid(user.close(file_id, file.claim(**{field: value})), "body", field)
        check_invalid(user.close(file_id, {"decrypted_sha256": "0"}), "body")
        assert user.close(file_id, file.claim()).status_code == 204

    def test_a_locked_box_takes_nothing(self, archive: ServedArchive, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        file_id = user.create("a", file).json()["file_id"]
        box_id = user.package().json()["research_data_upload_box_id"]
        archive.administer(lambda opened: admin.set_box_state(opened, box_id, "locked"))
        check_error(user.create("b", file), 409, "boxStateError")
        check_error(user.part_url(file_id, 1), 409, "boxStateError")
        check_error(user.close(file_id, file.claim()), 409, "boxStateError")
        check_error(user.delete(file_id), 409, "boxStateError")
        assert user.list_uploads().json()["total_count"] == 1
        archive.administer(lambda opened: admin.set_box_state(opened, box_id, "open"))
        assert user.create("b", file).status_code == 201

    def test_states_that_do_not_allow_it(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        cancelled = user.create("a", file).json()["file_id"]
        user.delete(cancelled)
        check_error(user.close(cancelled, file.claim()), 409, "fileUploadStateError")
        check_error(user.part_url(cancelled, 1), 404, "s3UploadNotFound")
        closed = user.upload("b", file)
        check_error(user.part_url(closed, 1), 404, "s3UploadNotFound")

    def test_too_many_open_uploads(self, uploader: MakeUser) -> None:
        user = uploader()
        file = user.seal(b"data")
        ids = [user.create(f"f{number}", file).json()["file_id"] for number in range(5)]
        refused = user.create("f5", file)
        check_error(refused, 429, "tooManyOpenUploads")
        assert refused.json()["data"]["max_concurrent"] == 5
        assert "retry-after" not in refused.headers
        assert user.create("f4", file, overwrite=True).status_code == 201
        user.put_parts(ids[0], file.parts)
        assert user.close(ids[0], file.claim()).status_code == 204
        assert user.create("f5", file).status_code == 201

    def test_box_max_size_exceeded(self, uploader: MakeUser) -> None:
        user = uploader(max_size=10)
        six, four = user.seal(b"123456"), user.seal(b"1234")
        first = user.create("a", six).json()["file_id"]
        check_error(user.create("b", six), 507, "boxMaxSizeExceeded")
        assert user.create("a", six, overwrite=True).status_code == 201
        assert user.create("b", four).status_code == 201
        check_error(user.create("c", user.seal(b"1")), 507, "boxMaxSizeExceeded")
        assert first


def key_of(user: ContractClient) -> str:
    return base64.b64encode(user.public_key).decode()


def issued(archive: ServedArchive, order: WorkOrder, *, ago: float) -> str:
    """A token as the archive issued it so many seconds ago: waiting for one to expire would take as long."""

    async def issue(opened: Archive) -> str:
        lifetime, leeway = opened.settings.work_order_lifetime, opened.settings.token_leeway
        issuer = TokenIssuer(opened.keys, lifetime=lifetime, leeway=leeway, clock=lambda: time.time() - ago)
        return await issuer.issue(order)

    return archive.administer(issue)


class TestTokens:
    def test_no_or_broken_tokens(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        good = user.upload_token("view")
        head, payload, signature = good.split(".")
        forged = f"{head}.{payload[:-4]}AAAA.{signature}"
        for headers in ({}, bearer("x"), bearer(forged), {"Authorization": f"Basic {good}"}):
            check_plain(http.get(user.uploads_url, headers=headers), 401)

    def test_a_token_for_other_work(self, uploader: MakeUser, http: httpx.Client) -> None:
        user = uploader()
        file_id = user.create("a", user.seal(b"data")).json()["file_id"]
        answer = http.get(user.uploads_url, headers=bearer(user.upload_token("create", alias="a")))
        assert answer.status_code == 401
        token = user.upload_token("close", file_id=file_id)
        assert http.delete(f"{user.uploads_url}/{file_id}", headers=bearer(token)).status_code == 401

    def test_a_token_for_another_box_file_or_alias(self, uploader: MakeUser, http: httpx.Client) -> None:
        user, other = uploader(), uploader()
        file = user.seal(b"data")
        assert http.get(user.uploads_url, headers=bearer(other.upload_token("view"))).status_code == 403
        one = user.create("a", file).json()["file_id"]
        two = user.create("b", file).json()["file_id"]
        assert user.part_url(one, 1, token=user.upload_token("upload", file_id=two)).status_code == 403
        token = user.upload_token("create", alias="c")
        answer = http.post(user.uploads_url, headers=bearer(token), json=file.announcement("d"))
        assert answer.status_code == 403

    def test_expired_work_orders(
        self, archive: ServedArchive, uploader: MakeUser, registered: Registered, downloader: MakeUser
    ) -> None:
        user = uploader()
        accession, _ = registered()
        reader = downloader([accession])
        box_id = user.package().json()["file_upload_box_id"]
        view = WorkOrder("view", key_of(user), user.package_id, box_id=box_id)
        file_id = claims_of(reader.download_token(accession))["file_id"]
        download = WorkOrder("download", key_of(reader), reader.package_id, file_id=file_id, accession=accession)
        for ago, listed, found in ((0, {200}, {200, 202}), (3600, {401}, {401})):
            token = issued(archive, view, ago=ago)
            assert user.http.get(user.uploads_url, headers=bearer(token)).status_code in listed
            assert reader.drs_object(accession, token=issued(archive, download, ago=ago)).status_code in found
        check_plain(reader.drs_object(accession, token=""), 401)


def wait_for_staging(user: ContractClient, accession: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while (answer := user.drs_object(accession)).status_code != 200:
        assert answer.status_code == 202
        assert time.monotonic() < deadline, "not staged in time"
        time.sleep(0.05)
    return answer.json()  # type: ignore[no-any-return]


def wait_until_expired(url: str) -> None:
    query = httpx.URL(url).params
    signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S%z").timestamp()
    time.sleep(max(0.0, signed + int(query["X-Amz-Expires"]) + 0.1 - time.time()))


class TestDownloads:
    def test_staging_object_envelope_and_ranges(
        self, registered: Registered, downloader: MakeUser, http: httpx.Client
    ) -> None:
        accession, plaintext = registered(size=9 * MIB + 5)
        user = downloader([accession])
        first = user.drs_object(accession)
        assert first.status_code == 202
        assert first.headers["retry-after"] == "1"
        assert first.headers["cache-control"] == "no-store"
        assert first.json() is None
        found = wait_for_staging(user, accession)
        answer = user.drs_object(accession)
        assert answer.headers["cache-control"] == "max-age=60, private"
        segments = -(-len(plaintext) // 65_536)
        assert found["size"] == len(plaintext) + segments * 28
        assert found["id"] == accession
        assert found["name"] == "sample.vcf.gz"
        scheme, _, host, name = found["self_uri"].split("/")
        assert (scheme, name) == ("drs:", accession)
        resolved = f"http://{host}/ga4gh/drs/v1"
        again = http.get(f"{resolved}/objects/{name}", headers=bearer(user.download_token(accession)))
        assert (again.status_code, again.json()["id"]) == (200, accession)
        info = http.get(f"{resolved}/service-info")
        assert (info.status_code, info.json()["type"]["artifact"]) == (200, "drs")
        assert found["created_time"].endswith("+00:00")
        assert found["checksums"] == [{"checksum": hashlib.sha256(plaintext).hexdigest(), "type": "sha-256"}]
        (method,) = found["access_methods"]
        assert method["type"] == "s3"
        url = method["access_url"]["url"]
        whole = http.get(url)
        assert whole.status_code == 200
        assert len(whole.content) == found["size"]
        ranges = [(0, SEALED_SEGMENT - 1), (SEALED_SEGMENT, 8_500_000), (8_500_001, found["size"] + 999)]
        content = b""
        for start, end in ranges:
            piece = http.get(url, headers={"Range": f"bytes={start}-{end}"})
            assert piece.status_code == 206
            last = min(end, found["size"] - 1)
            assert piece.headers["content-range"] == f"bytes {start}-{last}/{found['size']}"
            content += piece.content
        assert content == whole.content
        assert http.get(url, headers={"Range": "bytes=-10"}).content == content[-10:]
        assert http.get(url, headers={"Range": f"bytes={found['size']}-"}).status_code == 416
        envelope = user.envelope(accession)
        assert len(envelope) == 124
        assert unseal(envelope, content, user.private_key) == plaintext

    def test_how_long_to_wait_for_a_file_follows_from_its_size(
        self, tmp_path: Path, uploader: MakeUser, downloader: MakeUser
    ) -> None:
        with serving(tmp_path / "archive", "--staging-delay", "1") as served:
            user = uploader(served)
            accession = served.wait_for_file(user.upload("a", user.seal(b"data")))["accession"]
            assert downloader([accession], served).drs_object(accession).headers["retry-after"] == "5"

    def test_the_archive_seals_anew(
        self, archive: ServedArchive, uploader: MakeUser, downloader: MakeUser, http: httpx.Client
    ) -> None:
        user = uploader()
        file = user.seal(os.urandom(100_000))
        accession = archive.wait_for_file(user.upload("x.bam", file))["accession"]
        found = wait_for_staging(downloader([accession]), accession)
        content = http.get(found["access_methods"][0]["access_url"]["url"]).content
        assert content != file.content[124:]
        assert len(content) == len(file.content) - 124

    def test_files_that_are_not_there_or_not_allowed(self, registered: Registered, downloader: MakeUser) -> None:
        accession, _ = registered()
        other, _ = registered()
        user = downloader([accession])
        token = user.download_token(accession)
        check_error(user.drs_object(other, token=token), 403, "wrongFileAuthorizationError")

    def test_no_such_object(self, archive: ServedArchive, registered: Registered, downloader: MakeUser) -> None:
        accession, _ = registered()
        user = downloader([accession])
        order = WorkOrder("download", key_of(user), user.package_id, file_id=str(uuid4()), accession="GHGAF0")
        check_error(user.drs_object("GHGAF0", token=issued(archive, order, ago=0)), 404, "noSuchObject")

    def test_expired_and_altered_urls(
        self, hasty_archive: ServedArchive, registered: Registered, downloader: MakeUser, http: httpx.Client
    ) -> None:
        accession, _ = registered(served=hasty_archive)
        user = downloader([accession], hasty_archive)
        first = user.drs_object(accession)
        assert (first.status_code, first.headers["retry-after"]) == (202, "2")
        found = wait_for_staging(user, accession)
        url = found["access_methods"][0]["access_url"]["url"]
        wait_until_expired(url)
        expired = http.get(url, headers={"Range": "bytes=0-9"})
        assert expired.status_code == 403
        assert "<Code>AccessDenied</Code>" in expired.text
        longer = http.get(url.replace("X-Amz-Expires=4", "X-Amz-Expires=999"))
        assert longer.status_code == 403
        assert "SignatureDoesNotMatch" in longer.text

    def test_an_expired_part_url_is_refused_after_the_body(
        self, hasty_archive: ServedArchive, uploader: MakeUser, http: httpx.Client
    ) -> None:
        user = uploader(hasty_archive)
        file = user.seal(os.urandom(8 * MIB), part_size=16 * MIB)
        file_id = user.create("a", file).json()["file_id"]
        url = user.part_url(file_id, 1).json()
        wait_until_expired(url)
        refused = http.put(url, content=file.content)
        assert refused.status_code == 403
        assert "<Code>AccessDenied</Code>" in refused.text
        user.put_parts(file_id, file.parts)
        assert user.close(file_id, file.claim()).status_code == 204
