"""Implementations of the protocols."""
