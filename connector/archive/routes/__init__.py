"""The routes of the archive's APIs: one module each, without logic of their own."""
