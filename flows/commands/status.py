"""Status of the project: the present run or outdated stages, the champion, the gate's openings, and running servers.

Standalone: gradus status.

Reads .gradus/, dvc.yaml, dvc.lock and MLflow's database. Does not import MLflow or Prefect, which takes seconds, and
does not wait for locks.
"""

import os
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.dag import graph, staleness
from flows.promotion import history
from flows.run import run_state
from flows.run.console import STYLES, duration
from flows.serve.prefect_server import pages
from pipelines.config import Config
from pipelines.evaluation.question_sketch import OPENING
from pipelines.runtime import code_lock
from pipelines.runtime.store_location import DATABASE, GIVEN

_CHAMPION = """
    select a.version, t.value from registered_model_aliases a
    left join model_version_tags t on t.name = a.name and t.version = a.version and t.key = 'model'
    where a.name = 'gradus' and a.alias = 'champion'
"""
_DECISIONS = f"""
    select version, key, value from model_version_tags
    where name = 'gradus' and (key like '{history.PREFIX}%' or key = '{history.WEIGHTS}')
"""
_OPENED = f"""
    select t.value from tags t join runs r on r.run_uuid = t.run_uuid where t.key = '{OPENING}' order by r.start_time
"""


def show(console: Console, settings: Config) -> None:
    """Print the present run, or else which stages are up to date; then champion, openings of the gate and servers."""
    running = run_state.running()
    for run in running:
        console.print(_progress(run))
        console.print(_time(run), highlight=False)
    if not running:
        _show_stages(console)
    console.print(f"Champion: {champion()}", highlight=False)
    if used := openings(settings.compare.openings):
        console.print(str(used), highlight=False)
    for name, address in pages().items():
        console.print(f"{name}: {address}", highlight=False)


def _show_stages(console: Console) -> None:
    try:
        console.print(stages())
    except staleness.LockedError as error:
        console.print(f"The state of the stages is not available now: {error}", markup=False, highlight=False)


def stages() -> Table:
    """Return a table of stages with their state and the reason."""
    code_lock.refresh()
    every = graph.read()
    changed, needed = staleness.changes(every), {stage.name for stage in every.towards([])}
    waiting = every.after(name for name in changed if name in needed)
    table = Table("stage", "state", "why", box=None, header_style="bold")
    for stage in every:
        why = changed.get(stage.name, "")
        state = "never ran" if why == staleness.NEVER else "changed" if why else "follows"
        if not why and stage.name not in waiting:
            state = "up to date"
        elif stage.name not in needed:
            state = "optional"
        table.add_row(stage.name, state, "" if why == staleness.NEVER else why)
    return table


def _progress(run: run_state.RunState) -> Table:
    table = Table("stage", "state", "", box=None, header_style="bold")
    for stage, state in run.stages.items():
        table.add_row(stage, Text(state.state, STYLES[state.state]), Text(state.note))
    return table


def _time(run: run_state.RunState) -> str:
    left = "the time left is not known yet" if run.left is None else f"about {duration(run.left)} left"
    return f"A run has been in progress for {duration(time.time() - run.began)}; {left}."


def champion() -> str:
    """Return version and model of the champion as text, read directly from MLflow's database."""
    if server := os.environ.get(GIVEN):
        return f"stored in the MLflow server at {server}."
    if not DATABASE.exists():
        return "none yet."
    try:
        found = _query(_CHAMPION)
    except sqlite3.Error as error:
        return f"unknown ({DATABASE}: {error})."
    return f"version {found[0][0]} ({found[0][1] or 'of an unknown model'})." if found else "none yet."


def openings(allowed: int) -> history.Openings | None:
    """Return the openings of the last test questions, read as `champion` is; None if not known."""
    if os.environ.get(GIVEN) or not DATABASE.exists():
        return None
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    try:
        opened = [value for (value,) in _query(_OPENED)]
        for version, key, value in _query(_DECISIONS):
            tags[version][key] = value
    except sqlite3.Error:
        return None  # `champion` has reported it
    asked = history.last_questions(tags, opened)
    return None if asked is None else history.Openings(len(history.candidates(tags, opened, asked)), allowed)


def _query(query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{DATABASE.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as store:
        return store.execute(query).fetchall()
