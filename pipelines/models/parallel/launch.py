"""Several processes of one training, one per GPU: torchrun starts this program again in each.

The process that a flow started only waits: it forwards signals, and reports a failure once. The others share the work
of each step (`pipelines/training/step.py`); rank 0 writes what a single process would.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.run as torchrun
from accelerate.commands import launch as accelerate
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, get_error_handler

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import device
from pipelines.runtime import liveness, outages
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.user_files import read_yaml

PATIENCE = 12
"""Seconds that processes have to save a checkpoint before SIGKILL; a flow's next signal comes after 15."""
SUPPORTED = "MULTI_GPU"
"""The distributed type of accelerate for one process per GPU, which the training loop coordinates itself."""


def run(launch: int | Path, compute: ComputeConfig) -> None:
    """Run this program (`python -m NAME ARGUMENTS`) in several processes, and wait for them.

    Raises:
        UserError: there are fewer GPUs, the config file is unusable, or a process raised it.
        RuntimeError: a process crashed or was killed; the tracebacks are printed.
    """
    where = device(compute)
    wanted = launch if isinstance(launch, int) else configured(launch)
    if where.type == "cuda":
        if wanted > (visible := torch.cuda.device_count()):
            raise UserError(f"training.launch is {launch}, for {wanted} GPUs, and torch sees {visible} here; lower it.")
        liveness.accelerator()
    liveness.lead()
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    logging.disable(logging.CRITICAL)  # torchrun logs each signal and the table of failures
    try:
        _start(launch)
    except SignalException as stop:
        raise KeyboardInterrupt from stop
    except ChildFailedError as failed:
        raise _cause(failed.failures) from None


def configured(path: Path) -> int:
    """Return the number of processes in an accelerate config file.

    Raises:
        UserError: the file is missing, or does not configure processes on this machine.
    """
    if not path.is_file():
        raise UserError(
            f"training.launch is {path}, and there is no such file; name one that `accelerate config` wrote, or a "
            "number of processes."
        )
    values = read_yaml(path)
    kind = values.get("distributed_type") if isinstance(values, dict) else None
    if kind != SUPPORTED:
        raise UserError(
            f"{path} has distributed_type {kind}, but a training needs {SUPPORTED}; to shard a model over processes, "
            "set training.launch to their number and training.sharded to true."
        )
    number = values.get("num_processes")
    if not isinstance(number, int) or number < 2 or values.get("num_machines", 1) != 1:
        raise UserError(f"{path} needs num_processes of at least 2 and num_machines: 1; `accelerate config` writes it.")
    return number


def _start(launch: int | Path) -> None:
    specification = sys.modules["__main__"].__spec__
    assert specification is not None, "started as a file instead of a module"
    program = ["--module", specification.name, *sys.argv[1:]]
    if isinstance(launch, Path):
        parser = accelerate.launch_command_parser()
        try:
            accelerate.launch_command(parser.parse_args(["--config_file", str(launch), *program]))
        except ValueError as error:
            raise UserError(f"{launch} is refused by accelerate: {error}") from error
    else:  # accelerate itself starts several processes only on GPUs
        local = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(launch)]
        torchrun.run(torchrun.parse_args([*local, *program]))  # type: ignore[no-untyped-call]


def _cause(failures: Mapping[int, ProcessFailure]) -> Exception:
    """Return the exception that the launcher raises: the UserError of a process, or a summary of all failures.

    When one process ends, the others fail too, since they wait for it.
    """
    summary = {rank: failure.message for rank, failure in failures.items()}
    for rank, failure in failures.items():
        if not isinstance(recorded := failure.error_file_data["message"], dict):
            continue  # killed: the message names the signal
        kind, _, sentence = recorded["message"].partition(": ")
        if kind == UserError.__name__:
            return UserError(sentence)
        summary[rank] = recorded["message"]
        say(f"rank {rank}: {recorded['extraInfo']['py_callstack']}")
    return RuntimeError("; ".join(f"rank {rank}: {message}" for rank, message in summary.items()))


@contextmanager
def reported_to_launcher() -> Iterator[None]:
    """Leave the report of a failure in this process to the launcher, which knows all failures (`_cause`)."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, KeyboardInterrupt):
            sys.exit(128 + signal.SIGINT)
        sentence = outages.sentence(error)
        get_error_handler().record_exception(error if sentence is None else UserError(sentence))
        sys.exit(1 if sentence is None else 2)
