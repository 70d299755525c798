"""The embedded archive: all services of the contract on one port, over `persistence`. Needs the extra `archive`."""

from importlib.util import find_spec

from connector.errors import UsageError


class MissingExtraError(UsageError, ImportError):
    """Libraries that only an extra installs are missing."""


if not all(map(find_spec, ("hypercorn", "jwt", "starlette"))):
    raise MissingExtraError(
        "The embedded archive needs the extra `archive`, which is not installed:"
        " pip install 'crypt4gh-connector[archive]'"
    )
