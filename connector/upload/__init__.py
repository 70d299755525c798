"""From a local file to the archive."""
