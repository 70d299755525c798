"""Object storage and document database behind protocols, on asyncio and trio."""
