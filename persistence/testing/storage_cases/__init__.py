"""Cases for object storages."""
