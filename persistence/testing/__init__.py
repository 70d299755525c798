"""Conformance suites and fixtures for providers."""
