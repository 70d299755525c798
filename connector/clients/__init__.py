"""HTTP to the archive: one client per API, and the transport for bodies below them.

How long a token, an address or a setting is used, how often it is asked for and after what pause: `docs/lifetimes.md`
lists the cases, each with the rule of the RFCs that it follows.
"""
