"""When and where tasks run: Prefect flows over the graph of dvc.yaml, and the command `gradus`.

Prefect reads its settings when it is imported, so they are set here: its database lies in the project
(.gradus/), it is quiet on the terminal, the lines of a run go to its page in Prefect, leases outlive its server, and a
flow sends a heartbeat twice a minute.
"""

import logging
import os
from pathlib import Path

import pipelines  # noqa: F401  (switches telemetry off, before anything that has some is imported)
from flows.folder import project

for _name, _value in {
    "PREFECT_HOME": str((project(Path.cwd()) or Path.cwd()) / ".gradus"),
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}.items():
    os.environ.setdefault(_name, _value)

logging.raiseExceptions = False  # a line that Prefect's server does not take is no matter for the terminal
