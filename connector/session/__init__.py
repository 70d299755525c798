"""The composition root: the one place where the components are put together.

As a library::

    async with open_session(settings, keys, token) as session:
        outcomes = await session.download([], output_dir=Path("."), decrypt=True)

The names are loaded when first used, since decrypting a file does not need the network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.session.opening import Components, open_session
    from connector.session.recryption import decrypt_files, decrypt_pipe, encrypt_files, encrypt_pipe
    from connector.session.session import Session

_LAZY_IMPORTS = {
    "Components": "opening",
    "Session": "session",
    "decrypt_files": "recryption",
    "decrypt_pipe": "recryption",
    "encrypt_files": "recryption",
    "encrypt_pipe": "recryption",
    "open_session": "opening",
}

__all__ = ["Components", "Session", "decrypt_files", "decrypt_pipe", "encrypt_files", "encrypt_pipe", "open_session"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY_IMPORTS[name]}"), name)
