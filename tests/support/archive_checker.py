"""Looks through an embedded archive's directory: does everything have its counterpart?

It reads the files and the database itself and imports nothing of the packages under test, so that what they overlook is
not overlooked here for the same reason. For archives at rest, by the command line too::

    python -m tests.support.archive_checker ROOT
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

Documents = dict[str, dict[str, Any]]

COMING = ("inbox", "interrogated", "awaiting_archival")
"""States of uploads whose content is not registered yet."""
JOBS = {"init": "expire", "inbox": "interrogate", "awaiting_archival": "register"}
"""What has to be done next about an upload in these states."""


@attrs.define
class Bucket:
    """A bucket as it lies on the disk: records of objects by id, open uploads by id, and the content files."""

    path: Path
    objects: Documents = attrs.field(factory=dict)
    uploads: Documents = attrs.field(factory=dict)
    content: dict[str, int] = attrs.field(factory=dict)
    named: set[str] = attrs.field(factory=set)


@attrs.frozen
class Report:
    """What was found: a line for each fault, and the files that nothing needs, with their bytes."""

    faults: list[str]
    files: int
    size: int


def check(root: Path) -> Report:
    """Look through the archive below ``root``."""
    faults: list[str] = []
    stray: list[Path] = []
    buckets = {}
    for folder in sorted((root / "objects" / "buckets").iterdir()):
        buckets[folder.name] = bucket = read_bucket(folder)
        faults += storage_faults(bucket, stray)
    for path in (root / "objects" / "trash").iterdir():
        faults.append(f"trash: {path.name} was thrown away and is still there")
        stray += [path] if path.is_file() else [inside for inside in path.rglob("*") if inside.is_file()]
    for path in (root / "keys").iterdir():
        if path.name.startswith("."):
            faults.append(f"keys: {path.name} never became a key")
            stray.append(path)
    with sqlite3.connect(f"file:{root / 'archive.sqlite'}?mode=ro", uri=True) as database:
        tables = {name: read_table(database, name) for name in ("boxes", "uploads", "files", "secrets", "jobs")}
    database.close()
    faults += box_faults(tables)
    faults += upload_faults(tables, buckets)
    faults += file_faults(tables, buckets)
    return Report(faults, len(stray), sum(map(_size, stray)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # the worker of a killed server ends a little later


def read_table(database: sqlite3.Connection, name: str) -> Documents:
    return {key: {"id": key, **json.loads(text)} for key, text in database.execute(f'SELECT id, doc FROM "{name}"')}


def read_bucket(path: Path) -> Bucket:
    bucket = Bucket(path)
    for record in (path / "objects").glob("[!.]*.json"):
        found = json.loads(record.read_text())
        bucket.objects[found["id"]] = found
        bucket.named.update(name for name, _ in found["content"])
    for folder in (path / "uploads").iterdir():
        head = json.loads((folder / "upload.json").read_text()) if (folder / "upload.json").exists() else {}
        parts = [json.loads(part.read_text()) for part in folder.glob("[0-9]*.json")]
        bucket.named.update(part["file"] for part in parts)
        bucket.uploads[folder.name] = {**head, "parts": parts}
    for content in (path / "data").glob("*/*"):
        bucket.content[f"{content.parent.name}/{content.name}"] = content.stat().st_size
    return bucket


def storage_faults(bucket: Bucket, stray: list[Path]) -> Iterator[str]:
    """Files without a record, records without their files, and steps that were not brought to an end."""
    name = bucket.path.name
    for upload_id in bucket.uploads:
        if "." in upload_id:
            stray += [path for path in (bucket.path / "uploads" / upload_id).iterdir() if path.is_file()]
            yield f"{name}: the upload {upload_id} is half-done"
    for draft in (*bucket.path.glob("objects/.*"), *bucket.path.glob("uploads/*/.*")):
        stray.append(draft)
        yield f"{name}: the draft {draft.name} never got its name"
    for content in bucket.content.keys() - bucket.named:
        stray.append(bucket.path / "data" / content)
        yield f"{name}: the content {content} has no record"
    for content in bucket.named - bucket.content.keys():
        yield f"{name}: the content {content} is named and not there"
    for object_id, record in bucket.objects.items():
        for content, size in record["content"]:
            if bucket.content.get(content, size) != size:
                yield f"{name}: the object {object_id} has content of another size"


def box_faults(tables: Mapping[str, Documents]) -> Iterator[str]:
    """The counters of boxes against the uploads in them, and jobs against what they are about."""
    uploads = tables["uploads"]
    for box_id, box in tables["boxes"].items():
        inside = [upload for upload in uploads.values() if upload["box_id"] == box_id]
        valid = [upload for upload in inside if upload["state"] not in ("failed", "cancelled")]
        counted = (sum(u["state"] == "init" for u in inside), sum(u["decrypted_size"] for u in valid))
        if counted != (box["open_uploads"], box["used_size"]):
            yield f"box {box_id} counts {box['open_uploads']}, {box['used_size']} instead of {counted}"
    for file_id, upload in uploads.items():
        wanted = JOBS.get(upload["state"])
        if wanted is not None and tables["jobs"].get(file_id, {}).get("kind") != wanted:
            yield f"upload {file_id} is {upload['state']} and has no job"
    for job in tables["jobs"].values():
        # What was open when it was removed is freed at once, and looked at again a minute later.
        is_due = job["due"] is not None and job["due"] <= f"$t:{datetime.now(UTC).isoformat()}"
        if job["kind"] in ("interrogate", "register") or (job["kind"] == "clean" and is_due) or job["due"] is None:
            yield f"job {job['id']} ({job['kind']}) is not done: {job['reason']}"


def upload_faults(tables: Mapping[str, Documents], buckets: Mapping[str, Bucket]) -> Iterator[str]:
    """Uploads against the inbox, and the other way round."""
    uploads, inbox = tables["uploads"], buckets["inbox"]
    opened = {(head.get("object_id"), upload_id) for upload_id, head in inbox.uploads.items()}
    aliases: set[tuple[str, str]] = set()
    for file_id, upload in uploads.items():
        state = upload["state"]
        if state == "init" and (file_id, upload["upload_id"]) not in opened and file_id not in inbox.objects:
            yield f"upload {file_id} is open and the storage has lost it"
        if state == "inbox" and file_id not in inbox.objects:
            yield f"upload {file_id} was received and is not in the inbox"
        if state == "archived" and not any(file["file_id"] == file_id for file in tables["files"].values()):
            yield f"upload {file_id} is archived and not registered"
        alias = (upload["box_id"], upload["alias"])
        if alias in aliases:
            yield f"upload {file_id} has the alias of another one"
        aliases.add(alias)
    # A kill in the middle of a deletion or a creation leaves these to a job, which is due a minute or a lifetime later.
    kinds = {job["id"]: job["kind"] for job in tables["jobs"].values()}
    cleaned = {id for id, kind in kinds.items() if kind == "clean" or (kind == "expire" and id not in uploads)}
    for object_id, upload_id in opened:
        upload = uploads.get(str(object_id), {})
        if object_id in cleaned:
            continue
        if upload.get("state") != "init" or upload["upload_id"] != upload_id.partition(".")[0]:
            yield f"inbox: the open upload {upload_id} belongs to no document"
    for object_id in inbox.objects.keys() - cleaned:
        if uploads.get(object_id, {}).get("state") not in ("init", *COMING):
            yield f"inbox: the object {object_id} belongs to no document"
    for name in ("permanent", "download"):
        for upload_id in buckets[name].uploads:
            yield f"{name}: the open upload {upload_id} belongs to nothing at rest"


def file_faults(tables: Mapping[str, Documents], buckets: Mapping[str, Bucket]) -> Iterator[str]:
    """Registered files, and those about to be, against their objects and secrets."""
    uploads, secrets = tables["uploads"], tables["secrets"]
    registered = {file["file_id"]: file for file in tables["files"].values()}
    coming = {file_id: upload for file_id, upload in uploads.items() if upload["state"] in COMING[1:]}
    for file_id, file in registered.items():
        found = buckets["permanent"].objects.get(file["object_id"])
        if found is None or sum(size for _, size in found["content"]) != file["encrypted_size"]:
            yield f"file {file['id']} has no object, or one of another size"
        if uploads.get(file_id, {}).get("state") not in ("archived", "awaiting_archival"):
            yield f"file {file['id']} is registered and its upload is not archived"
    due = {**coming, **registered}
    for file_id, document in due.items():
        if document["secret_id"] not in secrets:
            yield f"file {file_id} has no secret"
    for secret_id in secrets.keys() - {document["secret_id"] for document in due.values()}:
        yield f"secret {secret_id} belongs to no file"
    for object_id in buckets["permanent"].objects.keys() - {document["object_id"] for document in due.values()}:
        yield f"permanent: the object {object_id} belongs to no document"
    for object_id in buckets["download"].objects.keys() - {file["staged_id"] for file in registered.values()}:
        yield f"download: the object {object_id} belongs to no document"


def main() -> int:
    report = check(Path(sys.argv[1]))
    for fault in report.faults:
        print(fault)
    print(f"{len(report.faults)} faults; {report.files} stray files, {report.size / 10**6:.1f} MB")
    return int(bool(report.faults))


if __name__ == "__main__":
    raise SystemExit(main())
