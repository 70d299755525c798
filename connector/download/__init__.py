"""From the archive to a local file."""
