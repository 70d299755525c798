"""Encrypting and decrypting local files, on the same scheduler as transfers."""

from connector.recrypt.decryption import Decryption
from connector.recrypt.encryption import Encryption
from connector.recrypt.job import Recryption, Transformation
from connector.recrypt.request import RecryptedFile, RecryptRequest

__all__ = ["Decryption", "Encryption", "RecryptRequest", "RecryptedFile", "Recryption", "Transformation"]
