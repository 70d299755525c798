"""The two conformance suites, collected from the modules of cases."""

from __future__ import annotations

from persistence.testing.cases import Case
from persistence.testing.dao_cases import (
    batches,
    changes,
    factories,
    increments,
    index_options,
    indexes,
    migrations,
    operators,
    pages,
    queries,
    surrogate,
    transactions,
    values,
    writes,
)
from persistence.testing.harness import DaoHarness, StorageHarness
from persistence.testing.storage_cases import (
    arguments,
    buckets,
    conditional,
    names,
    objects,
    presigned,
    reading,
    uploads,
)


def object_storage_suite() -> list[Case[StorageHarness]]:
    """Every case that an object storage must pass."""
    modules = (buckets, objects, conditional, reading, uploads, presigned, names, arguments)
    return [case for module in modules for case in module.cases]


def dao_suite() -> list[Case[DaoHarness]]:
    """Every case that a document database must pass."""
    modules = (
        writes,
        values,
        queries,
        operators,
        pages,
        indexes,
        index_options,
        batches,
        changes,
        increments,
        surrogate,
        transactions,
        factories,
        migrations,
    )
    return [case for module in modules for case in module.cases]
