"""Mutual exclusion on the accelerator: a Prefect global concurrency limit shared by all flows of one server.

A stage with `gpu: true` in its `meta` holds the limit while it runs. The lease is renewed periodically and expires a
minute after a flow was killed; it is stored in a file, so it survives a restart of the server. When the server is
down, a stage starts anyway: the file lock of its own process (pipelines/runtime/liveness.py) still excludes others.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.run.errors import StoppedError

LIMIT = f"gradus-gpu-{socket.gethostname()}"
LEASE = 60.0  # seconds; Prefect's minimum
PATIENCE = 5.0  # seconds between two checks whether the run is being stopped


def create_limit(reset: bool = False) -> None:
    """Create the limit of one stage at a time unless it exists; `reset` recreates it and drops its holder."""
    with get_client(sync_client=True) as client:
        if reset:
            with suppress(ObjectNotFound):
                client.delete_global_concurrency_limit_by_name(LIMIT)
        with suppress(ObjectAlreadyExists):  # also when another run creates it at this moment
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=1))


@contextmanager
def held(stopping: Callable[[], bool]) -> Iterator[None]:
    """Acquire the accelerator, waiting for it, and release it on exit.

    Raises:
        StoppedError: the run is `stopping`.
    """
    lease = _acquire(stopping)
    try:
        yield
    finally:
        with suppress(httpx.TransportError):  # the lease expires by itself
            lease.close()


def _acquire(stopping: Callable[[], bool]) -> ExitStack:
    """Wait for a lease; return the stack that releases it, which is empty when the server is down."""
    stack = ExitStack()
    while not stopping():
        lease = concurrency(
            LIMIT, timeout_seconds=PATIENCE, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False
        )
        try:
            stack.enter_context(lease)
            return stack
        except (TimeoutError, ConcurrencySlotAcquisitionError) as error:
            if _server_is_down():
                return stack
            if not isinstance(error, TimeoutError):
                raise
    raise StoppedError


def _server_is_down() -> bool:
    try:
        httpx.get(f"{PREFECT_API_URL.value()}/health", timeout=PATIENCE)
    except httpx.TransportError:
        return True
    return False
