"""When and where tasks run: Prefect flows over the graph of dvc.yaml, and the command `gradus`.

Prefect reads its settings when it is imported, so they are set here: its database lies in the project
(.gradus/), it is quiet, leases outlive its server, and a flow tells twice a minute that it is alive.
"""

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
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}.items():
    os.environ.setdefault(_name, _value)
