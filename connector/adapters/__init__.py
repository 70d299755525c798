"""Adapters between the transfer engine and `persistence`: objects of a storage as source and target of a transfer."""

from connector.adapters.failures import storage_failures
from connector.adapters.object_parts import ObjectSink, ObjectSource

__all__ = ["ObjectSink", "ObjectSource", "storage_failures"]
