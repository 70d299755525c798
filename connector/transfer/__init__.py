"""The generic scheduler: moves the parts of transfers of any kind."""

from connector.transfer.buffers import Buffer, BufferPool
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.reporting import (
    AlreadyThere,
    GuardedObserver,
    Observer,
    Outcome,
    SilentObserver,
    as_connector_error,
)
from connector.transfer.scheduler import Scheduler
from connector.transfer.steps import (
    Backoff,
    Notify,
    Retrier,
    RunContext,
    Sequencer,
    check_in_trio,
    make_threads,
    run_concurrently,
)
from connector.transfer.transfers import (
    NotReadyError,
    OverloadedError,
    Progress,
    TooManyOpenTransfersError,
    Transfer,
)

__all__ = [
    "AlreadyThere",
    "Backoff",
    "Buffer",
    "BufferPool",
    "ConcurrencyLimit",
    "GuardedObserver",
    "NotReadyError",
    "Notify",
    "Observer",
    "Outcome",
    "OverloadedError",
    "Progress",
    "Retrier",
    "RunContext",
    "Scheduler",
    "Sequencer",
    "SilentObserver",
    "TooManyOpenTransfersError",
    "Transfer",
    "as_connector_error",
    "check_in_trio",
    "make_threads",
    "run_concurrently",
]
