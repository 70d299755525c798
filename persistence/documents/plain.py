"""Documents as plain dicts: what a DAO made with `dict` as its model stores and returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from persistence.documents.codec import ModelCodec
from persistence.documents.shape import Shape
from persistence.documents.values import Document, normalize, same
from persistence.errors import InvalidValue


class AnyShape(Shape):
    """The shape of documents whose fields are not declared: every field may exist and hold anything."""

    def hint(self, path: str) -> Any:
        """See `Shape.hint`."""
        return Any


class PlainCodec(ModelCodec[Document]):
    """Checks the values of a dict and changes nothing else.

    Args:
        id_field: the key of the id, which may be a str, UUID or int.
    """

    def __init__(self, id_field: str) -> None:
        self.model = dict
        self.id_field = id_field
        self.shape = AnyShape(dict, {})
        self.id_types = (str, UUID, int)

    def dump_and_load(self, model: Document) -> tuple[Document, Document]:
        """See `ModelCodec.dump_and_load`."""
        if not isinstance(model, dict) or self.id_field not in model:
            raise InvalidValue(f"{model!r} is not a dict with the key {self.id_field!r}.")
        document: Document = normalize(model)
        if not same(model, document):
            raise InvalidValue(f"This dict cannot be stored: it would be loaded as {document!r}.")
        return document, document

    def checks_by_field(self, changed: Iterable[str], incremented: Iterable[str]) -> bool:
        """See `ModelCodec.checks_by_field`."""
        return True

    def load(self, document: Document) -> Document:
        """The document; a value that another program has stored and this package would not is left as it is."""
        return {name: _cleaned(value) for name, value in document.items()}

    def _structure(self, path: str, encoded: Any) -> Any:
        return encoded


def _cleaned(value: Any) -> Any:
    try:
        return normalize(value)
    except InvalidValue:
        return value
