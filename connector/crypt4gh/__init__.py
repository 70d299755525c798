"""The Crypt4GH format: header, segments, edit list, key pairs and sealed boxes. Pure: no I/O, no clock."""
