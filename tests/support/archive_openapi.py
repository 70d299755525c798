"""The archive's routes as an OpenAPI document, from the wire contract: the archive itself serves none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BIG = 10**40
_ANY = {"200": {"description": "It may."}}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_SIZES = {"anyOf": [{"type": "integer", "minimum": -BIG, "maximum": BIG}, {"enum": [1, 5_242_880, 65_688, 2**63]}]}


def document(*, packages: Sequence[str], boxes: Sequence[str], files: Sequence[str], accessions: Sequence[str]) -> Any:
    """The document; what is known to exist is drawn as often as other values."""

    def known(values: Sequence[str], kind: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(values)}, kind or {"type": "string", "minLength": 1}]}

    package, box = _path("package_id", known(packages)), _path("box_id", known(boxes, _uuid()))
    file, accession = _path("file_id", known(files, _uuid())), _path("accession", known(accessions))
    box_of, number = _path("rdub_id", known(boxes)), _path("number", {"anyOf": [_SIZES, {"type": "string"}]})
    order = _object(
        ["work_type"],
        work_type={"enum": ["create", "upload", "close", "delete", "view", "download", "other"]},
        alias={"type": "string", "nullable": True},
        file_id={**known(files, _uuid()), "nullable": True},
    )
    fields = ["alias", "decrypted_size", "encrypted_size", "part_size"]
    aliases = ["x.bam", "a/b", "\u00fc", "a" * 1025]
    good = _object(
        fields,
        alias={"enum": aliases},
        decrypted_size={"enum": [1, 65_536]},
        encrypted_size={"enum": [65_688, 10 * 2**20]},
        part_size={"enum": [5 * 2**20]},
        overwrite={"enum": [True]},
    )
    other = _object(
        fields,
        alias=known(aliases),
        decrypted_size=_SIZES,
        encrypted_size=_SIZES,
        part_size=_SIZES,
        overwrite={"type": "boolean"},
    )
    creation = {"anyOf": [good, other]}
    completion = _object(
        ["decrypted_sha256", "encrypted_md5", "encrypted_parts_md5", "encrypted_parts_sha256"],
        decrypted_sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        encrypted_md5={"type": "string", "pattern": "^[0-9a-f]{32}-1$"},
        encrypted_parts_md5={"type": "array", "items": _DIGEST},
        encrypted_parts_sha256={"type": "array", "items": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
    )
    page = [_query("skip", _SIZES), _query("limit", _SIZES), _query("with_checksums", {"type": "boolean"})]
    page.append(_query("sort", {"type": "array", "items": known(["alias", "-alias", "id", "state", "initiated"])}))
    signed = [_query(f"X-Amz-{name}", {"type": "string"}) for name in ("Date", "Expires", "Signature", "SignedHeaders")]
    signed += [_query("partNumber", _SIZES), _query("uploadId", {"type": "string"})]
    signed += [_field("Range", {"type": "string"}), _field("Content-MD5", {"type": "string"})]
    stored = [_path("bucket", known(["inbox", "download", "permanent"])), _path("object_id", known(files)), *signed]
    uploads = "/ucs/boxes/{box_id}/uploads"
    paths: dict[str, Any] = {
        "/.well-known/values": {"get": _call()},
        "/.well-known/values/{name}": {"get": _call([_path("name", {"type": "string"})])},
        "/wps/work-packages/{package_id}": {"get": _call([package])},
        "/wps/work-packages/{package_id}/files/{accession}/work-order-tokens": {"post": _call([package, accession])},
        "/wps/work-packages/{package_id}/boxes/{rdub_id}/work-order-tokens": {"post": _call([package, box_of], order)},
        uploads: {"get": _call([box, *page]), "post": _call([box], creation)},
        uploads + "/{file_id}": {"patch": _call([box, file], completion), "delete": _call([box, file])},
        uploads + "/{file_id}/parts/{number}": {"get": _call([box, file, number])},
        "/dcs/objects/{accession}": {"get": _call([accession])},
        "/dcs/objects/{accession}/envelopes": {"get": _call([accession])},
        "/ga4gh/drs/v1/objects/{accession}": {"get": _call([accession])},
        "/ga4gh/drs/v1/service-info": {"get": _call()},
        "/storage/{bucket}/{object_id}": {"get": _call(stored), "put": _call(stored, {"type": "string"})},
    }
    for service in ("wps", "ucs", "dcs"):
        paths[f"/{service}/health"] = {"get": _call()}
    return {"openapi": "3.0.3", "info": {"title": "Archive", "version": "1"}, "paths": paths}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _uuid() -> dict[str, Any]:
    return {"type": "string", "format": "uuid"}


def _path(name: str, schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _field(name: str, schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema}


def _call(parameters: Sequence[Any] = (), body: Any = None) -> dict[str, Any]:
    call: dict[str, Any] = {"parameters": list(parameters), "responses": _ANY}
    if body is not None:
        call["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return call
