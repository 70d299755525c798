"""`python -m connector` is the `connector` command."""

from __future__ import annotations

from connector.cli import main

if __name__ == "__main__":
    main()
