"""Bridges from the transfer engine to `persistence`."""
