"""The servers that the contestants talk to."""
