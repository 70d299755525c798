"""The generic scheduler: moves parts of many transfers, knowing nothing of what they are."""
