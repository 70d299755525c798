"""HTTP to the archive: one client per API, and the transport for bodies below them.

`docs/lifetimes.md` lists how long a token, an address or a setting is used, how often it is requested and after what
pause, each with the rule of the RFCs.
"""
