"""Cases for document databases."""
