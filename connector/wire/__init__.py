"""The protocol of client and archive: payloads, tokens, lifetimes and digests. Pure."""
