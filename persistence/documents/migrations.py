"""Schema versions: documents are changed step by step from what older programs stored to what this one expects.

The schema version of a database is the number of migrations that were applied to it, in their order; so a program only
ever appends to its list. The collection `schema_versions` holds the version, how far the current migration has come,
and a lease. Documents are migrated in batches, in the order of their ids. Each batch is one transaction, which also
records the last id of the batch on the condition that this process still holds the lease. So every document is migrated
exactly once, wherever a process is killed, and even where two of them believe that they hold the lease.

Programs of an older version must be stopped first: documents that they store meanwhile may miss the migration.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from typing import Any, Final

import anyio
import attrs

from persistence import errors
from persistence.documents.dao import Dao
from persistence.documents.database import Transaction
from persistence.documents.factory import DaoFactory
from persistence.documents.matching import matches
from persistence.documents.query import Compare
from persistence.documents.values import Document, Id, normalize
from persistence.errors import DocumentExists, InvalidValue, MigrationFailed, PersistenceError, SchemaTooNew

COLLECTION: Final = "schema_versions"
_POLL_INTERVAL: Final = 0.2
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class Migration:
    """One step of the schema.

    Attributes:
        collection: the collection whose documents change.
        change: makes the new document of the old one, with the same id. It is called with a copy. It must depend on
            nothing but the document: after a conflict it is called again.
        id_field: the field that holds the id.
    """

    collection: str
    change: Callable[[Document], Document]
    id_field: str = "id"


@attrs.frozen
class SchemaState:
    """How far a database is: migrations applied, last id done by the next one, and the lease of the process at work."""

    name: str
    version: int = 0
    last_id: Any = None
    owner: str | None = None
    leased_until: datetime = _LONG_AGO


@attrs.frozen
class DryRun:
    """What `migrate` would do.

    Attributes:
        pending: migrations that are not applied yet, or not to all documents.
        changed: documents that would change.
        failures: errors by collection and id.
    """

    pending: int
    changed: int
    failures: Mapping[tuple[str, Id], PersistenceError]


async def migrate(
    factory: DaoFactory,
    migrations: Sequence[Migration],
    *,
    deadline: float = 600.0,
    lease: float = 60.0,
    batch: int = 100,
    name: str = "schema",
) -> int:
    """Apply the migrations that were not applied yet; to be called before anything else uses the database.

    Only one process migrates at a time, the others wait for it. Where a process was killed, another one continues as
    soon as the lease has expired.

    Args:
        factory: the open database; on MongoDB a replica set, since batches are transactions.
        migrations: all migrations there have ever been, oldest first.
        deadline: seconds to wait for another process that migrates.
        lease: seconds that one batch may take.
        batch: documents in one transaction.
        name: tells programs apart that share a database and have versions of their own.

    Returns:
        How many documents were changed by this call.

    Raises:
        SchemaTooNew: the database was migrated by a newer program.
        MigrationFailed: `change` raised an exception, or returned something else than the new document. The batches
            before are migrated; the next call resumes behind them.
        UniqueViolation: two new documents have the same values in a unique index.
        DeadlineExceeded: another process migrates and did not finish in time.
    """
    states = await factory.dao(COLLECTION, SchemaState, id_field="name")
    with suppress(DocumentExists):
        await states.insert(SchemaState(name))
    owner, changed, end = secrets.token_hex(8), 0, anyio.current_time() + deadline
    try:
        while (state := _checked(await states.get_by_id(name), migrations)).version < len(migrations):
            now = await factory.now()
            free = {"$or": [{"owner": None}, {"owner": owner}, {"leased_until": {"$lt": now}}]}
            taken = {"owner": owner, "leased_until": now + timedelta(seconds=lease)}
            leased = await states.compare_and_set(name, expected={"version": state.version, **free}, changes=taken)
            if leased is not None:
                migration = migrations[leased.version]
                documents = await factory.dao(migration.collection, dict, id_field=migration.id_field)
                work = partial(_migrate_batch, documents, states, leased, migration, batch)
                changed += await factory.with_transaction(work)
            elif anyio.current_time() > end:
                raise errors.DeadlineExceeded(f"Another process did not finish migrating within {deadline:g} s.")
            else:
                await anyio.sleep(_POLL_INTERVAL)
    finally:
        # Where this fails, the lease expires.
        with anyio.CancelScope(shield=True), suppress(PersistenceError):
            await states.compare_and_set(name, expected={"owner": owner}, changes={"owner": None})
    return changed


async def dry_run(factory: DaoFactory, migrations: Sequence[Migration], *, name: str = "schema") -> DryRun:
    """What `migrate` would change and where it would fail; writes no document, but creates missing collections.

    Args:
        factory: the open database.
        migrations: as for `migrate`.
        name: as for `migrate`.

    Raises:
        SchemaTooNew: the database was migrated by a newer program.
    """
    states = await factory.dao(COLLECTION, SchemaState, id_field="name")
    state = _checked(await states.find_one({"name": name}) or SchemaState(name), migrations)
    pending = migrations[state.version :]
    changed, failures = 0, dict[tuple[str, Id], PersistenceError]()
    for collection, id_field in dict.fromkeys((m.collection, m.id_field) for m in pending):
        documents = await factory.dao(collection, dict, id_field=id_field)
        async for document in documents.find_all(sort=[id_field]):
            # An interrupted run has applied the first of the pending migrations up to the last id.
            first = int(state.last_id is not None and matches(Compare(id_field, "lte", state.last_id), document))
            steps = [m for m in pending[first:] if m.collection == collection]
            try:
                changed += _differ(document, reduce(_new_document, steps, document))
            except PersistenceError as error:
                failures[collection, document[id_field]] = error
    return DryRun(len(pending), changed, failures)


async def _migrate_batch(
    documents: Dao[Document],
    states: Dao[SchemaState],
    state: SchemaState,
    migration: Migration,
    size: int,
    transaction: Transaction,
) -> int:
    """Migrate the next documents and record how far it is, unless the lease is lost; how many were changed."""
    id_field, bound = migration.id_field, transaction.bind(documents)
    after = None if state.last_id is None else {id_field: state.last_id}
    old = [document async for document in bound.find_all(sort=[id_field], limit=size, after=after)]
    changed = [new for document in old if _differ(new := _new_document(document, migration), document)]
    leased = {"owner": state.owner, "version": state.version, "last_id": state.last_id}
    done = {"version": state.version + 1, "last_id": None}
    progress = done if len(old) < size else {"last_id": old[-1][id_field]}
    if await transaction.bind(states).compare_and_set(state.name, expected=leased, changes=progress) is None:
        return 0
    for error in (await bound.upsert_many(changed)).values():
        raise error
    return len(changed)


def _new_document(document: Document, migration: Migration) -> Document:
    """The document after one migration; `MigrationFailed`."""
    id_ = document[migration.id_field]
    try:
        new: Document = normalize(migration.change(deepcopy(document)))
        if not isinstance(new, dict) or new.get(migration.id_field) != id_:
            raise InvalidValue(f"the result is not a dict with the id {id_!r}")
    except Exception as error:
        raise MigrationFailed(migration.collection, id_, f"{type(error).__name__}: {error}".rstrip(".")) from error
    return new


def _differ(old: Document, new: Document) -> bool:
    # For Python, 1, 1.0 and True are equal.
    return repr(old) != repr(new)


def _checked(state: SchemaState, migrations: Sequence[Migration]) -> SchemaState:
    if state.version > len(migrations):
        raise SchemaTooNew(state.version, len(migrations))
    return state
