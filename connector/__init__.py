"""Structured-concurrency transfer engine for Crypt4GH-encrypted files."""
