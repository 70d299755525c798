"""The Crypt4GH format: header, segments, edit list, key pairs, and texts sealed to a key. Pure: no I/O, no clock."""
