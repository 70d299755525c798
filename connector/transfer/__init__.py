"""The generic scheduler: moves parts of many transfers, knowing nothing of what they are."""

from connector.transfer.buffers import Buffer, BufferPool
from connector.transfer.courtesy import Courtesy
from connector.transfer.failure import as_connector_error
from connector.transfer.observer import GuardedObserver, Observer, SilentObserver
from connector.transfer.outcome import AlreadyThere, Outcome
from connector.transfer.retry import Notify, Retrier
from connector.transfer.run_concurrently import run_concurrently
from connector.transfer.scheduler import Scheduler
from connector.transfer.sequencer import Sequencer
from connector.transfer.transfer import NotReadyError, OverloadedError, Progress, TooManyOpenTransfersError, Transfer

__all__ = [
    "AlreadyThere",
    "Buffer",
    "BufferPool",
    "Courtesy",
    "GuardedObserver",
    "NotReadyError",
    "Notify",
    "Observer",
    "Outcome",
    "OverloadedError",
    "Progress",
    "Retrier",
    "Scheduler",
    "Sequencer",
    "SilentObserver",
    "TooManyOpenTransfersError",
    "Transfer",
    "as_connector_error",
    "run_concurrently",
]
