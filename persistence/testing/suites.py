"""The two conformance suites, collected from the modules of cases."""

from __future__ import annotations

from persistence.testing.cases import Case
from persistence.testing.dao_cases import (
    batches,
    changes,
    comparisons,
    expiry,
    factories,
    increments,
    index_options,
    indexes,
    large_values,
    migrations,
    operators,
    pages,
    queries,
    query_limits,
    sorting,
    surrogate,
    transactions,
    values,
    writes,
)
from persistence.testing.harness import DaoHarness, StorageHarness
from persistence.testing.storage_cases import (
    arguments,
    buckets,
    completion,
    conditional,
    copies,
    names,
    objects,
    presigned,
    reading,
    uploads,
)


def object_storage_suite() -> list[Case[StorageHarness]]:
    """Every case that an object storage must pass."""
    modules = (buckets, objects, copies, conditional, reading, uploads, completion, presigned, names, arguments)
    return [case for module in modules for case in module.cases]


def dao_suite() -> list[Case[DaoHarness]]:
    """Every case that a document database must pass."""
    modules = (
        writes,
        values,
        large_values,
        comparisons,
        queries,
        query_limits,
        operators,
        sorting,
        pages,
        indexes,
        index_options,
        expiry,
        batches,
        changes,
        increments,
        surrogate,
        transactions,
        factories,
        migrations,
    )
    return [case for module in modules for case in module.cases]
