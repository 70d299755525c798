"""Adapters between the transfer engine and `persistence`: objects of a storage as source and target of a transfer."""

from connector.adapters.object_parts import ObjectSink, ObjectSource, storage_failures

__all__ = ["ObjectSink", "ObjectSource", "storage_failures"]
