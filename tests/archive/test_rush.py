"""Many calls for one box or one upload at once, to every serving process: counts and outcomes are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from tests.archive.test_rotation import servers
from tests.support.contract_client import ContractClient, bearer
from tests.support.served_archive import ServedArchive

MakeUser = Callable[..., ContractClient]
CREATIONS, CHANGES = 50, 20
FILE_SIZE, ROOM = 1000, 3
Call = Callable[[], httpx.Response]


def sent_at_once(calls: Sequence[Call]) -> list[httpx.Response]:
    together = Barrier(len(calls))

    def send(call: Call) -> httpx.Response:
        together.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(send, calls))


def outcome(answer: httpx.Response) -> str:
    return str(answer.json()["exception_id"]) if answer.content and answer.is_error else str(answer.status_code)


def test_creations(archive: ServedArchive, uploader: MakeUser) -> None:
    user = uploader(max_size=ROOM * FILE_SIZE + FILE_SIZE - 1)
    file, path, where = user.seal(bytes(FILE_SIZE)), user.uploads_url.partition("/ucs")[2], servers(archive)

    def creation(number: int) -> Call:
        alias, url = f"file-{number}", f"{where[number % len(where)]}/ucs{path}"
        token = user.upload_token("create", alias=alias)
        return lambda: user.http.post(url, headers=bearer(token), json=file.announcement(alias))

    outcomes = Counter(map(outcome, sent_at_once([creation(number) for number in range(CREATIONS)])))
    assert outcomes["201"] == ROOM
    assert outcomes.keys() <= {"201", "tooManyOpenUploads", "boxMaxSizeExceeded"}, outcomes
    assert [item["state"] for item in user.list_uploads(limit=100).json()["items"]] == ["init"] * ROOM


def test_closes_and_deletes(archive: ServedArchive, uploader: MakeUser) -> None:
    user = uploader()
    file, path, where = user.seal(b"content"), user.uploads_url.partition("/ucs")[2], servers(archive)
    file_id = user.create("file", file).json()["file_id"]
    user.put_parts(file_id, file.parts)
    tokens = {kind: user.upload_token(kind, file_id=file_id) for kind in ("close", "delete")}

    def change(number: int) -> Call:
        url = f"{where[number % len(where)]}/ucs{path}/{file_id}"
        if number // 2 % 2:
            return lambda: user.http.delete(url, headers=bearer(tokens["delete"]))
        return lambda: user.http.patch(url, headers=bearer(tokens["close"]), json=file.claim())

    answers = sent_at_once([change(number) for number in range(2 * CHANGES)])
    outcomes = {
        kind: Counter(outcome(one) for one in answers if one.request.method == kind) for kind in ("PATCH", "DELETE")
    }
    assert outcomes["DELETE"] == {"204": CHANGES}
    assert outcomes["PATCH"].keys() <= {"204", "fileUploadStateError", "s3UploadNotFound", "uploadCompletionError"}
    assert [item["state"] for item in user.list_uploads().json()["items"]] == ["cancelled"]
