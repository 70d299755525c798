"""Encrypting and decrypting local files, on the same scheduler as transfers."""
