"""The schema of the archive's database: its version, and what makes it of that of earlier versions."""

from __future__ import annotations

from collections.abc import Callable

from connector.errors import UsageError
from persistence.documents import DaoFactory, Migration, migrate
from persistence.documents.migrations import COLLECTION, SchemaState
from persistence.documents.values import Document

SCHEMA = "archive"
_IN_PERMANENT = ("interrogated", "awaiting_archival", "archived")
_COLLECTIONS = ("boxes", "packages", "uploads", "files", "secrets")


def _with(**fields: object) -> Callable[[Document], Document]:
    return lambda document: {**fields, **document}


def _name_object(upload: Document) -> Document:
    return {"object_id": upload["id"] if upload["state"] in _IN_PERMANENT else None, **upload}


def migrations(store_key_id: str = "") -> list[Migration]:
    """All steps there have ever been, the oldest first.

    Args:
        store_key_id: The master key under which the first version has sealed all its secrets.
    """
    return [
        Migration("packages", _with(last_used=None, revoked=None)),
        Migration("boxes", _with(used_size=0, open_uploads=0)),
        Migration("uploads", _name_object),
        Migration("files", _with(staged_id=None, last_used=None), id_field="accession"),
        Migration("secrets", _with(key_id=store_key_id)),
        # Changes nothing: it is applied when what no single document tells is made, too, jobs and the boxes' counters.
        Migration("counters", _with()),
    ]


VERSION = len(migrations())


async def schema_version(documents: DaoFactory) -> int:
    """How many of the steps were applied to an open database; 0 for one of the first version, and for an empty one."""
    states = await documents.dao(COLLECTION, SchemaState, id_field="name")
    state = await states.find_one({"name": SCHEMA})
    return state.version if state is not None else 0


async def check_schema(documents: DaoFactory, *, create: bool = True) -> None:
    """Refuse a database of another version; an empty one becomes one of this version if `create` is given.

    Raises:
        UsageError: It is of an earlier version, or of a later one; or it is empty and is not to become an archive's.
    """
    version = await schema_version(documents)
    if version > VERSION:
        raise UsageError(
            f"The archive's database is of a later version ({version}) than this program ({VERSION}).",
            hint="Install the version of connector that the archive's other processes have.",
        )
    if version < VERSION:
        if not await is_empty(documents):
            raise UsageError(
                f"The archive's database is of an earlier version ({version}) than this program ({VERSION}).",
                hint="Stop all processes of the archive, then run: connector archive upgrade",
            )
        if version == 0 and not create:
            raise UsageError(
                "The database is empty: there is no archive in it.",
                hint="Correct its name or path; `connector archive serve` makes an archive.",
            )
        await migrate(documents, migrations(), name=SCHEMA)


async def is_empty(documents: DaoFactory) -> bool:
    """Whether the database has no document of an archive yet."""
    for name in _COLLECTIONS:
        dao = await documents.dao(name, dict, id_field="accession" if name == "files" else "id")
        if await dao.find_one({}) is not None:
            return False
    return True
