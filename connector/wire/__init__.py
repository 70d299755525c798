"""What client and archive say to each other: payloads, tokens, lifetimes and digests. Pure."""
