"""HTTP clients of the archive, one module per API."""
