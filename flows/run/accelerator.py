"""The accelerator as a global concurrency limit of Prefect, so that the flows of one server take turns at it.

A stage whose `meta` says `gpu` holds it while it runs. Its lease is renewed, and ends a minute after a flow was killed;
it lies in a file, and outlives the server. Where the server itself is gone a stage starts all the same: the lock that
its own process takes (pipelines/runtime/liveness.py) still keeps two apart.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.run.errors import StoppedError

LIMIT = f"gradus-gpu-{socket.gethostname()}"
LEASE = 60.0  # seconds; Prefect takes no less
PATIENCE = 5.0  # seconds between two looks at whether the run is being stopped


def create_limit(anew: bool = False) -> None:
    """Create the limit, one stage at a time, unless it is there; `anew` forgets who held it."""
    with get_client(sync_client=True) as client:
        if anew:
            with suppress(ObjectNotFound):
                client.delete_global_concurrency_limit_by_name(LIMIT)
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=1))


@contextmanager
def held(stopping: Callable[[], bool]) -> Iterator[None]:
    """Wait for the accelerator, and hold it.

    Raises:
        StoppedError: the run is `stopping`.
    """
    turn = _turn(stopping)
    try:
        yield
    finally:
        with suppress(httpx.TransportError):  # the lease ends by itself
            turn.close()


def _turn(stopping: Callable[[], bool]) -> ExitStack:
    """Wait for a lease; return what gives it back, which is nothing where there is no server any more."""
    turn = ExitStack()
    while not stopping():
        lease = concurrency(
            LIMIT, timeout_seconds=PATIENCE, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False
        )
        try:
            turn.enter_context(lease)
            return turn
        except (TimeoutError, ConcurrencySlotAcquisitionError) as error:
            if _gone():
                return turn
            if not isinstance(error, TimeoutError):
                raise
    raise StoppedError


def _gone() -> bool:
    try:
        httpx.get(f"{PREFECT_API_URL.value()}/health", timeout=PATIENCE)
    except httpx.TransportError:
        return True
    return False
