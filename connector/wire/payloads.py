"""The JSON bodies of the APIs as values.

`read_payload` structures decoded JSON, `write_payload` does the reverse. Unknown fields are ignored, so that an archive
may send more than the contract requires.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError

from connector.errors import BrokenError

T = TypeVar("T")
NOT_THE_ARCHIVE = "Check the archive's address; a proxy or login page may be in the way."
"""The hint about a response that an archive would not send."""

WorkType = Literal["download", "create", "upload", "close", "delete", "view"]


@attrs.frozen
class WellKnownValues:
    """Where the APIs are, and the data hubs' Crypt4GH public keys (base64) by storage alias."""

    crypt4gh_public_keys: Mapping[str, str]
    wps_api_url: str
    dcs_api_url: str
    ucs_api_url: str


@attrs.frozen
class WorkPackage:
    """A work package: files to download (accession to file name extension) or one upload box."""

    type: Literal["download", "upload"]
    files: Mapping[str, str] | None = None
    research_data_upload_box_id: UUID | None = None
    file_upload_box_id: UUID | None = None
    created: datetime | None = None
    expires: datetime | None = None


@attrs.frozen
class WorkOrderRequest:
    """Requests a work order token for one operation on a box or on a file in it."""

    work_type: WorkType
    alias: str | None = None
    file_id: UUID | None = None


@attrs.frozen
class Checksum:
    """One checksum of a DRS object."""

    checksum: str
    type: str


@attrs.frozen
class AccessUrl:
    """The URL of the content of a DRS object."""

    url: str = attrs.field(repr=False)


@attrs.frozen
class AccessMethod:
    """One access method of a DRS object."""

    access_url: AccessUrl
    type: str = "s3"


@attrs.frozen
class DrsObject:
    """A downloadable file. `size`: encrypted bytes without the header; `checksums`: of the plaintext.

    `name`: the file name, if the archive states one.
    """

    id: str
    self_uri: str
    size: int
    checksums: tuple[Checksum, ...]
    access_methods: tuple[AccessMethod, ...]
    created_time: str = ""
    name: str | None = None

    @property
    def plaintext_sha256(self) -> str | None:
        """The sha256 of the plaintext in lower case hex, if the archive states it."""
        return next((c.checksum.lower() for c in self.checksums if c.type in ("sha-256", "sha256")), None)

    @property
    def url(self) -> str | None:
        """The presigned URL of the first S3 access method."""
        return next((m.access_url.url for m in self.access_methods if m.type in ("s3", "https")), None)


@attrs.frozen
class UploadCreation:
    """Announces a file to a box. `encrypted_size` includes the header."""

    alias: str
    decrypted_size: int
    encrypted_size: int
    part_size: int
    overwrite: bool = False


@attrs.frozen
class CreatedUpload:
    """The archive's response to an `UploadCreation`."""

    file_id: UUID
    alias: str
    storage_alias: str


@attrs.frozen
class FileUpload:
    """A file upload as listed in a box. `state_updated` (ISO 8601): the time of its last change of state."""

    id: UUID
    alias: str
    state: str
    decrypted_size: int | None = None
    encrypted_size: int | None = None
    state_updated: str | None = None
    failure_reason: str | None = None


@attrs.frozen
class FileUploadPage:
    """One page of the listing of a box."""

    items: tuple[FileUpload, ...]
    total_count: int


@attrs.frozen
class UploadCompletion:
    """The client's digests of a finished upload; md5 and sha256 in lower case hex, parts in order."""

    decrypted_sha256: str
    encrypted_md5: str
    encrypted_parts_md5: tuple[str, ...]
    encrypted_parts_sha256: tuple[str, ...]


@attrs.frozen
class ErrorBody:
    """The body of an error response."""

    exception_id: str = ""
    description: str = ""


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_unstructure_hook(UUID, str)
    converter.register_structure_hook(UUID, lambda value, _: UUID(_checked(value, str)))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(_checked(value, str)))
    # Strict: "5" is not 5, and a number is no name. cattrs would convert one into the other.
    for kind in (int, bool):
        converter.register_structure_hook(kind, _checked)
    converter.register_structure_hook(str, lambda value, _: _text(value))
    converter.register_structure_hook(float, lambda value, _: _finite(value))
    converter.register_structure_hook_factory(_is_choice, _one_of)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_of(converter, kind))
    return converter


def _checked(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{kind.__name__} expected")
    return value


def _text(value: Any) -> str:
    # JSON can spell half of a surrogate pair, which nothing else can hold.
    text = _checked(value, str)
    if not text.isascii():
        text.encode()
    return text


def _finite(value: Any) -> float:
    # Python's json accepts NaN and Infinity, with which no duration can be computed.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise TypeError("a number expected")
    return float(value)


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _one_of(kind: Any) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if value not in get_args(kind):
            raise ValueError(f"one of {get_args(kind)} expected")
        return value

    return structure


def _tuple_of(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    read_item = converter.get_structure_hook(item)

    def structure(value: Any, _: Any) -> Any:
        return tuple(read_item(one, item) for one in _checked(value, list))

    return structure


_converter = _make_converter()


def read_payload(data: Any, kind: type[T], *, what: str = "") -> T:
    """Turn decoded JSON into `kind`.

    Raises:
        BrokenError: If the data does not have that structure; `what` names the sender.
    """
    try:
        return _converter.structure(data, kind)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, BaseValidationError) as error:
        raise BrokenError(
            f"{what or 'The archive'} sent something that is not a {kind.__name__}.",
            hint="Check the archive's address; if it is right, tell the archive's operators.",
        ) from error


def parse_payload(body: bytes, kind: type[T], *, what: str = "") -> T:
    """Like `read_payload`, from the bytes of a JSON document."""
    return read_payload(parse_json(body, what=what), kind, what=what)


def parse_json(body: bytes, *, what: str = "") -> Any:
    """Decode untrusted JSON; `BrokenError` if it is not valid."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenError(f"{what or 'The archive'} sent something that is not JSON.", hint=NOT_THE_ARCHIVE) from error


def write_payload(value: Any) -> Any:
    """The JSON-ready form of one of the values above."""
    return _converter.unstructure(value)
