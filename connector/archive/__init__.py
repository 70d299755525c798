"""The embedded archive: all services of the wire contract on one machine."""
