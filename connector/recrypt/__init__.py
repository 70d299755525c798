"""Encrypting and decrypting local files, on the same scheduler as transfers, and pipes."""

from connector.recrypt.batch import decrypt_files, encrypt_files
from connector.recrypt.request import RecryptedFile, RecryptRequest
from connector.recrypt.streams import decrypt_pipe, encrypt_pipe, move_all

__all__ = [
    "RecryptRequest",
    "RecryptedFile",
    "decrypt_files",
    "decrypt_pipe",
    "encrypt_files",
    "encrypt_pipe",
    "move_all",
]
