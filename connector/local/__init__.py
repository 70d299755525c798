"""What touches the local disk: partial files, journals, key files, sources."""
