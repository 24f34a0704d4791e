"""Orchestration: Prefect flows over the stage graph in dvc.yaml, and the command line interface `gradus`.

Prefect reads its settings at import time, so they are set here: the database is in the project (.gradus/), Prefect
logs nothing to the terminal, the output of a run goes to its page in Prefect, leases survive a restart of the server,
and a flow sends a heartbeat every 30 seconds.
"""

import logging
import os
from pathlib import Path

import pipelines  # noqa: F401  (disables telemetry before any library that sends some is imported)
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

logging.raiseExceptions = False  # do not print tracebacks for log records that Prefect's server rejects
