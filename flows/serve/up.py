"""Servers and schedules on this machine, until Ctrl-C. Standalone: gradus up

Starts a Prefect server, an MLflow server and a worker that runs the deployments of prefect.yaml. Their state is in the
project: .gradus/ and mlruns/. PREFECT_API_DATABASE_CONNECTION_URL and MLFLOW_TRACKING_URI select other stores.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from rich.console import Console

from flows.run.process import LOGS, Program, end_orphans
from flows.serve.mlflow_ui import QUIET, mlflow_command, pages, remote
from flows.serve.prefect_server import ADDRESS, HOST, Server, announce, announce_page, check_free, own_pages_only
from pipelines.runtime import store_location
from pipelines.runtime.errors import UserError

POOL = "gradus"


def up(console: Console, prefect_port: int, mlflow_port: int) -> None:
    """Start all servers, print their addresses, and stop them when interrupted or when one of them exits.

    No MLflow server is started if MLFLOW_TRACKING_URI names one.

    Raises:
        UserError: a port is taken, a program does not start, or one exits unexpectedly.
    """
    end_orphans()
    check_free(prefect_port, "--prefect-port")
    given = remote()
    if given is None:
        check_free(mlflow_port, "--port")
    mlflow = given or f"http://{HOST}:{mlflow_port}"
    api = f"http://{HOST}:{prefect_port}/api"
    environment = {ADDRESS: api, **own_pages_only(prefect_port), **QUIET}
    with ExitStack() as stack:

        def start(name: str, *command: str) -> Program:
            program = Program([sys.executable, "-m", *command], LOGS / f"{name}.log", environment)
            stack.callback(program.stop)
            return program

        server = start("server", "prefect", "server", "start", "--host", HOST, "--port", str(prefect_port))
        store = None if given else start("mlflow", *mlflow_command(mlflow_port))
        Server(api, server).wait("/health")
        announce(api)
        _set_up(environment, "prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite")
        _set_up(environment, "prefect", "--no-prompt", "deploy", "--all")
        _set_up(environment, "flows.serve.heartbeat")
        worker = start("worker", "prefect", "worker", "start", "--pool", POOL)
        Server(mlflow, store, store_location.GIVEN).wait("/health")
        announce_page("Prefect", f"http://{HOST}:{prefect_port}")
        announce_page("MLflow", mlflow)
        runs, _ = pages(mlflow)
        console.print(f"Prefect: http://{HOST}:{prefect_port}/runs   MLflow: {runs}", highlight=False, soft_wrap=True)
        console.print("The schedules of prefect.yaml are active. Press Ctrl-C to stop all servers.", highlight=False)
        _watch(server, worker, *([store] if store else []))


def _watch(*programs: Program) -> None:
    while all(program.process.poll() is None for program in programs):
        time.sleep(1)
    ended = next(program for program in programs if program.process.poll() is not None)
    raise UserError(f"A server exited unexpectedly; see {ended.log.name}.")


def _set_up(environment: dict[str, str], *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        log = LOGS / "deploy.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        raise UserError(f"`{' '.join(command)}` failed; see {log}.")
