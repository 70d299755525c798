"""The generic scheduler: moves parts of many transfers, knowing nothing of what they are."""

from connector.transfer.buffers import Buffer, BufferPool
from connector.transfer.courtesy import Courtesy
from connector.transfer.failure import as_connector_error
from connector.transfer.observer import GuardedObserver, Observer, SilentObserver
from connector.transfer.outcome import AlreadyThere, Outcome
from connector.transfer.retry import Notify, Retrier
from connector.transfer.scheduler import Scheduler
from connector.transfer.together import together
from connector.transfer.transfer import OverloadedError, PostponedError, Progress, Transfer, WindowFullError
from connector.transfer.turns import Turns

__all__ = [
    "AlreadyThere",
    "Buffer",
    "BufferPool",
    "Courtesy",
    "GuardedObserver",
    "Notify",
    "Observer",
    "Outcome",
    "OverloadedError",
    "PostponedError",
    "Progress",
    "Retrier",
    "Scheduler",
    "SilentObserver",
    "Transfer",
    "Turns",
    "WindowFullError",
    "as_connector_error",
    "together",
]
