"""The protocols that providers implement and applications see."""
