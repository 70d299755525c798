"""An archive in memory that speaks the wire contract to an httpx client, and goes wrong as a test asks it to.

It keeps trio's time, so that under a mock clock whole transfers with their expiries and waits take no time at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID, uuid4

import httpx
import jwt
import trio
from nacl.public import PublicKey, SealedBox

from connector.crypt4gh.keys import KeyPair
from tests.support.contract_client import SealedFile, seal, unseal

BASE = "https://archive.test"
STORAGE = "https://storage.test"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ENVELOPE = 124
SECRET = "archive's own secret, 32 bytes or more"

Fields = Callable[[datetime], Mapping[str, Sequence[str]]]
"""Field names with their values: one for each line, none for a field that is left out."""
Fault = Callable[[httpx.Request], httpx.Response | None]


@lru_cache(maxsize=4)
def md5_of(part: bytes) -> str:
    """The MD5 of a part, which is asked for when it is stored and when the upload is closed."""
    return hashlib.md5(part).hexdigest()


@dataclass
class Stored:
    """A downloadable file. ``claims`` overrides what its DRS object says."""

    plaintext: bytes
    sealed: SealedFile
    extension: str = ".bin"
    waits: int = 0
    """How often 202 is still to be answered."""
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The object, without envelope."""
        return self.sealed.content[ENVELOPE:]

    @content.setter
    def content(self, data: bytes) -> None:
        self.sealed.content = self.sealed.content[:ENVELOPE] + data


@dataclass
class Upload:
    """A file upload in the box."""

    id: UUID
    announced: dict[str, Any]
    state: str = "init"
    failure_reason: str | None = None
    parts: dict[int, bytes] = field(default_factory=dict)
    lost: bool = False
    """Whether the storage has forgotten its multipart upload, as lifecycle rules make it."""
    _unsealed: tuple[list[bytes], bytes] | None = None

    @property
    def alias(self) -> str:
        return str(self.announced["alias"])

    @property
    def content(self) -> bytes:
        return b"".join(self.parts[number] for number in sorted(self.parts))

    def plaintext(self, private_key: bytes) -> bytes:
        """Its content, opened with the hub's key; once as long as the parts are the same."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        if self._unsealed is None or list(map(id, parts)) != list(map(id, self._unsealed[0])):
            content = self.content
            self._unsealed = parts, unseal(content[:ENVELOPE], content[ENVELOPE:], private_key)
        return self._unsealed[1]


@dataclass
class Failing:
    """Answers the first ``times`` requests of one kind wrongly, those that ``when`` picks."""

    kind: str
    answer: Callable[[httpx.Request], httpx.Response]
    times: int
    when: Callable[[httpx.Request], bool]


class FakeArchive:
    """One archive with one user, one upload box and any number of files.

    Kinds of requests, as :attr:`counts` has them: values, package, order, object, envelope, list, create, part-url,
    complete, delete, get (of a range), put (of a part).
    """

    def __init__(self, user: KeyPair) -> None:
        self.user = user
        self.hub = KeyPair.of(hashlib.sha256(b"hub").digest())
        self.package_type = "download"
        self.files: dict[str, Stored] = {}
        self.uploads: dict[UUID, Upload] = {}
        self.research_box, self.file_box = UUID(int=1), UUID(int=2)
        self.hub_keys = {"HD01": base64.b64encode(self.hub.public).decode()}
        self.token_seconds = 30.0
        self.token_uses: int | None = None
        self.url_seconds = 60.0
        self.staging_wait = 30
        self.window = 1000
        self.box_state = "open"
        self.separate_keys = False
        """Whether the upload service verifies ``view`` tokens by another key than they are signed with."""
        self.etag: Callable[[bytes], dict[str, str]] = lambda part: {"ETag": f'"{md5_of(part)}"'}
        """What the storage says of a stored part."""
        self.interrogates_at: int | None = None
        """The listing at which received uploads are interrogated, counted from the first; never if ``None``."""
        self.refuses: dict[str, str] = {}
        """The reasons for which the interrogation refuses uploads, by alias."""
        self.serves_ranges = True
        self.counts: Counter[str] = Counter()
        self.ranges: list[tuple[int, int]] = []
        self.stored_parts: list[int] = []
        self.orders: list[str] = []
        self.most_open = 0
        self.latency: dict[str, float] = {}
        self.most_answered: dict[str, int] = {}
        """The number of the last request of a kind that is answered; later ones are, once there is no such number."""
        self.colliding: set[str] = set()
        """Kinds of requests of which one that comes while another is being handled is done, and answered with 500."""
        self._handled: Counter[str] = Counter()
        self.stuck: dict[str, Callable[[httpx.Request], bool]] = {}
        self.reached = trio.Event()
        self.apis = {name: f"{BASE}/{name}" for name in ("wps", "dcs", "ucs")}
        self.fields: dict[str, Fields] = {}
        """Header fields that answers of a kind have besides or instead, given the time by the archive's clock."""
        self._failing: list[Failing] = []
        self._uses: Counter[str] = Counter()

    @property
    def time(self) -> float:
        """Seconds by its clock."""
        return trio.current_time()

    # What tests prepare ----------------------------------------------------------------------------------------------

    @property
    def access_token(self) -> str:
        sealed = SealedBox(PublicKey(self.user.public)).encrypt(b"abcdefghijklmnopqrstuvwx")
        return f"package-1:{base64.b64encode(sealed).decode()}"

    def add_file(self, accession: str, plaintext: bytes, *, waits: int = 0, extension: str = ".bin") -> Stored:
        sealed = seal(plaintext, sender=os.urandom(32), recipient=self.user.public)
        stored = self.files[accession] = Stored(plaintext, sealed, extension, waits)
        return stored

    def fail(
        self,
        kind: str,
        status: int,
        body: Any = b"",
        *,
        times: int = 1,
        when: Callable[[httpx.Request], bool] = lambda _: True,
        **headers: str,
    ) -> None:
        """Answer the next requests of this kind with this status."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._failing.append(
            Failing(kind, lambda _: httpx.Response(status, headers=fields, content=content), times, when)
        )

    def cut(self, kind: str, *, times: int = 1, after: bool = False) -> None:
        """Cut the connection at the next requests of this kind: before they are heard, or ``after`` they are done."""

        def answer(request: httpx.Request) -> httpx.Response:
            if after:
                self._route(request, kind)
            raise httpx.ReadError("Connection reset by peer", request=request)

        self._failing.append(Failing(kind, answer, times, lambda _: True))

    def damage(self, offset: int, *, times: int = 1) -> None:
        """Flip a bit of the byte at ``offset`` of the object in the next ranges that hold it."""

        def answer(request: httpx.Request) -> httpx.Response:
            reply = self._route(request, "get")
            start, _ = _range(request)
            data = bytearray(reply.content)
            data[offset - start] ^= 1
            return httpx.Response(reply.status_code, headers=reply.headers, content=bytes(data))

        self._failing.append(Failing("get", answer, times, lambda r: _range(r)[0] <= offset < _range(r)[1]))

    def misname(self, number: int, *, times: int = 1) -> None:
        """Answer the next puts of this part with an ETag that is not theirs."""

        def answer(request: httpx.Request) -> httpx.Response:
            self._route(request, "put")
            return httpx.Response(200, headers={"ETag": f'"{"0" * 32}"'})

        self._failing.append(Failing("put", answer, times, lambda r: r.url.params["partNumber"] == str(number)))

    def lose_upload(self, alias: str) -> None:
        """Have the storage forget the multipart upload of this alias, with all its parts."""
        upload = self.upload_of(alias)
        upload.lost = True
        upload.parts.clear()

    def lose_part(self, alias: str, number: int) -> None:
        """Have the storage forget one stored part."""
        del self.upload_of(alias).parts[number]

    def flip_part(self, alias: str, number: int) -> None:
        """Turn one bit of a stored part."""
        parts = self.upload_of(alias).parts
        parts[number] = parts[number][:-1] + bytes([parts[number][-1] ^ 1])

    def upload_of(self, alias: str) -> Upload:
        """The upload under this alias."""
        (upload,) = (one for one in self.uploads.values() if one.alias == alias and one.state != "cancelled")
        return upload

    def cut_short(self, kind: str, size: int, *, times: int = 1) -> None:
        """Cut the connection after so many bytes of the next answers of this kind."""

        def answer(request: httpx.Request) -> httpx.Response:
            reply = self._route(request, kind)
            return httpx.Response(
                reply.status_code, headers=reply.headers, stream=_Body(reply.content[:size], cut=True)
            )

        self._failing.append(Failing(kind, answer, times, lambda _: True))

    def stick(self, kind: str, when: Callable[[httpx.Request], bool] = lambda _: True) -> None:
        """Never answer requests of this kind that ``when`` picks; :attr:`reached` is set when the first comes in."""
        self.stuck[kind] = when

    def heal(self) -> None:
        """Let everything go well from now on."""
        self._failing.clear()
        self.stuck.clear()
        self.reached = trio.Event()

    def opened(self, alias: str) -> bytes:
        """The plaintext of an upload, opened with the hub's key."""
        return self.upload_of(alias).plaintext(self.hub.private)

    # The archive -----------------------------------------------------------------------------------------------------

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Handle a request, for :class:`httpx.MockTransport`."""
        await request.aread()
        kind = _kind(request)
        self.counts[kind] += 1
        number = self.counts[kind]
        if kind in self.stuck and self.stuck[kind](request):
            self.reached.set()
            await trio.sleep_forever()
        for failing in self._failing:
            if failing.kind == kind and failing.times and failing.when(request):
                failing.times -= 1
                return self._sent(failing.answer(request))
        answer = self._route(request, kind)
        if self._handled[kind] and kind in self.colliding:
            answer = httpx.Response(500, json={"exception_id": "internalError", "description": "", "data": {}})
        self._handled[kind] += 1
        try:
            await trio.sleep(self.latency.get(kind, 0.0))
            while number > self.most_answered.get(kind, number):
                await trio.sleep(0.01)
        finally:
            self._handled[kind] -= 1
        return self._sent(answer, self.fields.get(kind))

    def _sent(self, response: httpx.Response, fields: Fields | None = None) -> httpx.Response:
        """The same answer with a date, and with a body that is still to come."""
        now = EPOCH + timedelta(seconds=self.time)
        response.headers.setdefault("Date", http_date(now))
        for name, values in (fields(now) if fields else {}).items():
            kept = [(other, value) for other, value in response.headers.multi_items() if other != name.lower()]
            response.headers = httpx.Headers([*kept, *((name, value) for value in values)])
        if not isinstance(response.stream, _Body):
            response = httpx.Response(response.status_code, headers=response.headers, stream=_Body(response.content))
        return response

    def _route(self, request: httpx.Request, kind: str) -> httpx.Response:
        try:
            return getattr(self, "_" + kind.replace("-", "_"))(request)  # type: ignore[no-any-return]
        except _Refusal as error_from_response:
            return error_from_response.response

    def _values(self, request: httpx.Request) -> httpx.Response:
        apis = {f"{name}_api_url": url for name, url in self.apis.items()}
        return httpx.Response(200, json={"crypt4gh_public_keys": self.hub_keys, **apis})

    def _package(self, request: httpx.Request) -> httpx.Response:
        self._check_access(request)
        downloads = self.package_type == "download"
        return httpx.Response(
            200,
            json={
                "type": self.package_type,
                "files": {name: stored.extension for name, stored in self.files.items()} if downloads else {},
                "research_data_upload_box_id": None if downloads else str(self.research_box),
                "file_upload_box_id": None if downloads else str(self.file_box),
                "created": EPOCH.isoformat(),
                "expires": (EPOCH + timedelta(days=30)).isoformat(),
            },
        )

    def _order(self, request: httpx.Request) -> httpx.Response:
        self._check_access(request)
        body = json.loads(request.content or b"{}")
        claims = {
            "work_type": body.get("work_type", "download"),
            "file_id": body.get("file_id"),
            "alias": body.get("alias"),
        }
        if claims["work_type"] == "download":
            claims["accession"] = _segments(request)[5]
        self.orders.append(claims["work_type"])
        token = self.work_order_token(claims)
        sealed = base64.b64encode(SealedBox(PublicKey(self.user.public)).encrypt(token.encode())).decode()
        fresh = {"Cache-Control": f"max-age={int(self.token_seconds)}, private"}
        return httpx.Response(201, json=sealed, headers=fresh)

    def work_order_token(self, claims: Mapping[str, Any]) -> str:
        """Issue a token for the user that permits what the claims say."""
        issued = 1_000_000 + self.time
        about = {
            "user_public_crypt4gh_key": self.user.public_base64,
            "iat": issued,
            "exp": issued + self.token_seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode({**claims, **about}, SECRET, algorithm="HS256")

    def _object(self, request: httpx.Request) -> httpx.Response:
        accession, stored = self._file(request)
        if stored.waits:
            stored.waits -= 1
            headers = {"Retry-After": str(self.staging_wait), "Cache-Control": "no-store"}
            return httpx.Response(202, headers=headers, content=b"null")
        drs = {
            "id": accession,
            "self_uri": f"drs://archive.test/{accession}",
            "size": len(stored.content),
            "created_time": EPOCH.isoformat(),
            "checksums": [{"checksum": hashlib.sha256(stored.plaintext).hexdigest(), "type": "sha-256"}],
            "access_methods": [{"type": "s3", "access_url": {"url": self._signed(f"/objects/{_quoted(accession)}")}}],
        }
        fresh = {"Cache-Control": f"max-age={int(self.url_seconds)}, private"}
        return httpx.Response(200, json=drs | stored.claims, headers=fresh)

    def _envelope(self, request: httpx.Request) -> httpx.Response:
        _, stored = self._file(request)
        return httpx.Response(200, json=base64.b64encode(stored.sealed.content[:ENVELOPE]).decode())

    def _get(self, request: httpx.Request) -> httpx.Response:
        self._check_url(request)
        content = self.files[_segments(request)[-1]].content
        start, stop = _range(request)
        if start >= len(content):
            return httpx.Response(416)
        self.ranges.append((start, min(stop, len(content))))
        if not self.serves_ranges:
            return httpx.Response(200, content=content)
        piece = content[start:stop]
        field = f"bytes {start}-{start + len(piece) - 1}/{len(content)}"
        return httpx.Response(206, headers={"Content-Range": field}, content=piece)

    def _list(self, request: httpx.Request) -> httpx.Response:
        self._claims(request, "view")
        _require(not self.separate_keys, 401, "signature")
        if self.interrogates_at is not None and self.counts["list"] >= self.interrogates_at:
            for upload in self.uploads.values():
                if upload.state == "inbox":
                    upload.failure_reason = self.refuses.get(upload.alias)
                    upload.state = "failed" if upload.failure_reason else "interrogated"
        skip, limit = int(request.url.params.get("skip", 0)), int(request.url.params.get("limit", 10))
        items = [
            {
                "id": str(upload.id),
                "state": upload.state,
                "state_updated": EPOCH.isoformat(),
                "failure_reason": upload.failure_reason,
                **upload.announced,
            }
            for upload in sorted(self.uploads.values(), key=lambda upload: upload.alias)[skip : skip + limit]
        ]
        return httpx.Response(200, json={"items": items, "total_count": len(self.uploads)})

    def _create(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        _require(self._claims(request, "create")["alias"] == body["alias"], 403, "wrongAlias")
        self._check_box_is_open()
        fitting = min(body["decrypted_size"], body["encrypted_size"]) > 0 and 5 << 20 <= body["part_size"] <= 5 << 30
        if not fitting:
            raise _Refusal(httpx.Response(422, json={"detail": [{"msg": "Value error", "loc": ["body"]}]}))
        _require(body["encrypted_size"] <= 10_000 * body["part_size"], 400, "invalidPartSize")
        replaceable = {"failed", "cancelled"} | ({"init", "inbox"} if body["overwrite"] else set())
        for upload in list(self.uploads.values()):
            if upload.alias == body["alias"]:
                _require(upload.state in replaceable, 409, "fileUploadAlreadyExists")
                del self.uploads[upload.id]
        open_now = sum(upload.state == "init" for upload in self.uploads.values())
        _require(open_now < self.window, 429, "tooManyOpenUploads", max_concurrent=self.window)
        self.most_open = max(self.most_open, open_now + 1)
        upload = Upload(uuid4(), body)
        self.uploads[upload.id] = upload
        return httpx.Response(201, json={"file_id": str(upload.id), "alias": upload.alias, "storage_alias": "HD01"})

    def _part_url(self, request: httpx.Request) -> httpx.Response:
        upload, number = self._upload(request, "upload"), request.url.path.split("/")[-1]
        _require(upload.state == "init" and not upload.lost, 404, "s3UploadNotFound")
        return httpx.Response(200, json=self._signed(f"/inbox/{upload.id}", f"&partNumber={number}"))

    def _put(self, request: httpx.Request) -> httpx.Response:
        self._check_url(request)
        upload = self.uploads.get(UUID(request.url.path.split("/")[-1]))
        if upload is None or upload.state != "init" or upload.lost:
            return httpx.Response(404, content=b"<Code>NoSuchUpload</Code>")
        number = int(request.url.params["partNumber"])
        upload.parts[number] = request.content
        self.stored_parts.append(number)
        return httpx.Response(200, headers=self.etag(request.content))

    def _complete(self, request: httpx.Request) -> httpx.Response:
        upload, body = self._upload(request, "close"), json.loads(request.content)
        _require(upload.state not in ("failed", "cancelled"), 409, "fileUploadStateError")
        if upload.state == "init":
            self._close(upload, body)
        return httpx.Response(204)

    def _close(self, upload: Upload, body: dict[str, Any]) -> None:
        self._check_box_is_open()
        _require(not upload.lost, 404, "s3UploadNotFound")
        announced = upload.announced
        parts = [upload.parts[number] for number in sorted(upload.parts)]
        whole = sorted(upload.parts) == list(range(1, -(-announced["encrypted_size"] // announced["part_size"]) + 1))
        even = all(len(part) == announced["part_size"] for part in parts[:-1])
        _require(whole and even, 500, "uploadCompletionError")
        md5s = [md5_of(part) for part in parts]
        right = {
            "encrypted_md5": f"{hashlib.md5(bytes.fromhex(''.join(md5s))).hexdigest()}-{len(parts)}",
            "encrypted_parts_md5": md5s,
            "encrypted_parts_sha256": [hashlib.sha256(part).hexdigest() for part in parts],
        }
        upload.state = "failed"
        _require(sum(map(len, parts)) == announced["encrypted_size"], 400, "uploadSizeMismatch")
        _require({name: body[name] for name in right} == right, 400, "checksumMismatch")
        # What follows is found out later, when the archive looks into the file.
        plaintext = upload.plaintext(self.hub.private)
        if hashlib.sha256(plaintext).hexdigest() == body["decrypted_sha256"]:
            upload.state = "inbox"
        else:
            upload.failure_reason = "The sha256 of the content is another."

    def _delete(self, request: httpx.Request) -> httpx.Response:
        upload = self._upload(request, "delete")
        self._check_box_is_open()
        _require(upload.state not in ("awaiting_archival", "archived"), 409, "fileUploadStateError")
        upload.state = "cancelled"
        return httpx.Response(204)

    def _check_box_is_open(self) -> None:
        _require(self.box_state == "open", 409, "boxStateError")

    # Rights ----------------------------------------------------------------------------------------------------------

    def _check_access(self, request: httpx.Request) -> None:
        _require(_bearer(request) == "abcdefghijklmnopqrstuvwx", 403, "")

    def _claims(self, request: httpx.Request, work_type: str) -> dict[str, Any]:
        token = _bearer(request)
        self._uses[token] += 1
        claims: dict[str, Any] = jwt.decode(
            token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
        )
        _require(claims["exp"] > 1_000_000 + self.time, 401, "expired")
        _require(self.token_uses is None or self._uses[token] <= self.token_uses, 401, "used up")
        _require(claims["work_type"] == work_type, 401, "otherKind")
        return claims

    def _file(self, request: httpx.Request) -> tuple[str, Stored]:
        accession = _segments(request)[3]
        _require(self._claims(request, "download")["accession"] == accession, 403, "wrongFileAuthorizationError")
        _require(accession in self.files, 404, "noSuchObject")
        return accession, self.files[accession]

    def _upload(self, request: httpx.Request, work_type: str) -> Upload:
        file_id = request.url.path.split("/")[5]
        _require(self._claims(request, work_type)["file_id"] == file_id, 403, "wrongFile")
        _require(UUID(file_id) in self.uploads, 404, "fileUploadNotFound")
        return self.uploads[UUID(file_id)]

    def _signed(self, path: str, more: str = "") -> str:
        now = EPOCH + timedelta(seconds=self.time)
        query = f"X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires={int(self.url_seconds)}&at={self.time}"
        return f"{STORAGE}{path}?{query}{more}"

    def _check_url(self, request: httpx.Request) -> None:
        over = self.time - float(request.url.params["at"]) >= self.url_seconds
        if over:
            raise _Refusal(httpx.Response(403, content=b"<Error><Code>AccessDenied</Code></Error>"))


def http_date(moment: datetime) -> str:
    """The form of a date in header fields."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


class _Body(httpx.AsyncByteStream):
    """A body that comes in pieces; ``cut``: its connection breaks behind them."""

    def __init__(self, data: bytes, *, cut: bool = False) -> None:
        self._data = data
        self._cut = cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 50_000):
            yield self._data[start : start + 50_000]
        if self._cut:
            raise httpx.ReadError("Connection reset by peer")


class _Refusal(Exception):
    def __init__(self, response: httpx.Response) -> None:
        self.response = response


def _require(holds: bool, status: int, exception_id: str, **data: object) -> None:
    """Refuse unless something holds, in the words of the real services: there is rarely a description."""
    if not holds:
        error = {"exception_id": exception_id, "description": "", "data": data}
        body = {"detail": f"Refused: {exception_id}"} if status == 401 or not exception_id else error
        raise _Refusal(httpx.Response(status, json=body))


def _bearer(request: httpx.Request) -> str:
    return str(request.headers.get("authorization", "")).removeprefix("Bearer ")


def _range(request: httpx.Request) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"])
    assert match is not None
    return int(match[1]), int(match[2]) + 1


_KINDS = [
    ("GET", r"archive\.test/wkvs/values", "values"),
    ("GET", r"archive\.test/wps/work-packages/[^/]+", "package"),
    ("POST", r"archive\.test/wps/work-packages/[^/]+/(files|boxes)/[^/]+/work-order-tokens", "order"),
    ("GET", r"archive\.test/dcs/objects/[^/]+", "object"),
    ("GET", r"archive\.test/dcs/objects/[^/]+/envelopes", "envelope"),
    ("GET", r"archive\.test/ucs/boxes/[^/]+/uploads", "list"),
    ("POST", r"archive\.test/ucs/boxes/[^/]+/uploads", "create"),
    ("GET", r"archive\.test/ucs/boxes/[^/]+/uploads/[^/]+/parts/\d+", "part-url"),
    ("PATCH", r"archive\.test/ucs/boxes/[^/]+/uploads/[^/]+", "complete"),
    ("DELETE", r"archive\.test/ucs/boxes/[^/]+/uploads/[^/]+", "delete"),
    ("GET", r"storage\.test/objects/[^/]+", "get"),
    ("PUT", r"storage\.test/inbox/[^/]+", "put"),
]


def _path(request: httpx.Request) -> str:
    """As it was sent: slashes within a name are escaped."""
    return request.url.raw_path.decode().partition("?")[0]


def _quoted(name: str) -> str:
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def _segments(request: httpx.Request) -> list[str]:
    return [unquote(segment) for segment in _path(request).split("/")]


def _kind(request: httpx.Request) -> str:
    for method, pattern, kind in _KINDS:
        if request.method == method and re.fullmatch(pattern, request.url.host + _path(request)):
            return kind
    raise AssertionError(f"The contract knows no {request.method} {request.url}")
