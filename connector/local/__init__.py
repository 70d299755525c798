"""Access to the local disk: partial files, journals, lock files, key files, sources."""
