"""Adapters between the transfer engine and `persistence`."""
