"""The composition root: the one place where the components are put together.

As a library::

    async with open_session(settings, keys, token) as session:
        outcomes = await session.download(output_dir=Path("."), decrypt=True)
"""

from connector.session.opening import Components, open_session
from connector.session.session import Session

__all__ = ["Components", "Session", "open_session"]
