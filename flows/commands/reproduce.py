"""Check that a commit reproduces its dvc.lock. Standalone: gradus reproduce COMMIT [--stages A,B] [--recompute]

*Restore* checks out every output from the cache or the remote and runs nothing. *Recompute* runs every stage again with
a scratch cache, so that the originals are neither reused nor overwritten. Either way each output gets a verdict, and a
difference is explained by the recorded facts that differ: inputs, libraries, hardware.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.dag import dvc_cache, graph
from flows.dag.worktree import LOCK, Workspace, workspace
from pipelines import artifacts
from pipelines.runtime import environment, tracking, tracking_store
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

EQUAL, WITHIN, DIFFERENT, MISSING = "equal", "within tolerance", "different", "missing"
STYLES = {EQUAL: "green", WITHIN: "yellow", DIFFERENT: "bold red", MISSING: "bold red"}

Locked = Mapping[str, Any]
"""The stages of a dvc.lock."""


@dataclass(frozen=True)
class Verdict:
    """Verdict on one output of one stage."""

    stage: str
    path: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Original:
    """Recorded metrics and environment facts of the result of a stage."""

    measured: Mapping[str, float]
    facts: Mapping[str, str]


def reproduce(console: Console, revision: str, again: bool, tolerance: float, stages: Sequence[str] = ()) -> bool:
    """Restore the outputs of `revision` (only of `stages`, if given), or compute them `again`.

    Prints a verdict on each output, and returns whether all were reproduced.

    Metrics in an output's record.json may differ by the relative `tolerance`, since GPUs are not bitwise deterministic.

    Raises:
        UserError: there is no such commit or stage, it holds no dvc.lock, or a stage fails.
    """
    with workspace(revision) as space:
        tags = {"commit": space.commit, "kind": "recompute" if again else "restore"}
        with tracking.started("reproduction", tags) as run:
            verdicts = _recomputed(space, tolerance, stages) if again else _restored(space, stages)
            run.metrics({state: sum(each.state == state for each in verdicts) for state in STYLES})
            run.record("verdicts.json", [asdict(each) for each in verdicts])
    console.print(_table(verdicts))
    return all(each.state in (EQUAL, WITHIN) for each in verdicts)


def _restored(space: Workspace, stages: Sequence[str]) -> list[Verdict]:
    known = _bring(space, stages)
    changed = _changed(space)
    return [
        Verdict(stage, path, MISSING, "no undamaged copy in the cache or a remote")
        if not (space.path / path).exists()
        else Verdict(stage, path, DIFFERENT if path in changed else EQUAL)
        for stage, path in _outputs(known)
    ]


def _recomputed(space: Workspace, tolerance: float, stages: Sequence[str]) -> list[Verdict]:
    known = _bring(space, stages)
    originals = {stage: _original(space, stage, path) for stage, path in _outputs(known)}
    space.dvc("config", "--local", "cache.dir", str(space.path / ".gradus/scratch"))  # removed with the worktree
    (space.path / artifacts.CHECKPOINTS).unlink()  # a link to the project's checkpoints, which may be the original's
    if stages:
        for stage in (each.name for each in graph.read(space.path) if each.name in known):
            say(f"{stage}: recomputing")
            space.dvc("repro", "--single-item", "--force", stage)
    elif space.gradus("run", *known, "--force", "--no-promote"):
        raise UserError(f"The commit {space.commit[:10]} could not be recomputed; see the error above.")
    now = _lock(space)
    return [
        _compared(stage, path, known, now, originals[stage], _original(space, stage, path), tolerance)
        for stage, path in _outputs(known)
    ]


def _bring(space: Workspace, stages: Sequence[str]) -> Locked:
    """Check out all undamaged outputs that are available, and return the dvc.lock entries of `stages`."""
    known = _only(_lock(space), stages)
    for stage in known:
        dvc_cache.damaged(stage, space.path)
    if space.dvc("remote", "list").strip():
        space.dvc("pull", "--allow-missing")
    space.dvc("checkout", "--allow-missing")
    return known


def _lock(space: Workspace) -> Locked:
    path = space.path / LOCK
    if not path.exists():
        raise UserError(
            f"The commit {space.commit[:10]} holds no {LOCK}, so there is no result to compare with; "
            "`gradus run --rev` creates one on a branch."
        )
    stages: Locked = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    return stages


def _only(locked: Locked, stages: Sequence[str]) -> Locked:
    """Return the entries of `stages`, by default all; `align` selects every `align@…`."""
    for wanted in stages:
        if not any(wanted in (stage, stage.split("@")[0]) for stage in locked):
            raise UserError(f"{wanted!r} is not a stage of that commit's {LOCK}; the stages are {', '.join(locked)}.")
    return {stage: entry for stage, entry in locked.items() if not stages or {stage, stage.split("@")[0]} & set(stages)}


def _outputs(locked: Locked) -> list[tuple[str, str]]:
    """Return stage and path of every output except runs/<stage>.json, which holds a run id and always differs."""
    return [
        (stage, out["path"])
        for stage, entry in locked.items()
        for out in entry["outs"]
        if Path(out["path"]).parts[0] != artifacts.RUNS.name
    ]


def _changed(space: Workspace) -> set[str]:
    """Return the outputs that differ from dvc.lock."""
    status = json.loads(space.dvc("status", "--json"))
    entries = [entry for found in status.values() for entry in found if isinstance(entry, dict)]
    return {path for entry in entries for path in entry.get("changed outs", {})}


def _original(space: Workspace, stage: str, path: str) -> Original:
    """Read the recorded metrics and facts of a stage in the worktree."""
    record, run = space.path / path / artifacts.RECORD, space.path / artifacts.RUNS / f"{stage}.json"
    measured = artifacts.read_json(record)["metrics"] if record.exists() else {}
    facts = tracking_store.tags_of(artifacts.read_json(run)["run_id"]) if run.exists() else {}
    return Original(measured, {key: facts[key] for key in environment.facts() if key in facts})


def _compared(
    stage: str, path: str, known: Locked, now: Locked, before: Original, after: Original, tolerance: float
) -> Verdict:
    if _hash(known[stage]["outs"], path) == _hash(now[stage]["outs"], path):
        return Verdict(stage, path, EQUAL)
    why = _why(known[stage], now[stage], before, after)
    if before.measured and before.measured.keys() == after.measured.keys():
        furthest = max(_distance(before.measured[key], after.measured[key]) for key in before.measured)
        if furthest <= tolerance:
            return Verdict(stage, path, WITHIN, f"metrics differ by {100 * furthest:.2g}% at most; {why}")
    return Verdict(stage, path, DIFFERENT, why)


def _distance(one: float, other: float) -> float:
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def _why(known: Mapping[str, Any], now: Mapping[str, Any], before: Original, after: Original) -> str:
    """Return the first kind of fact that differs: inputs, then library versions and hardware."""
    inputs = [dep["path"] for dep in known.get("deps", []) if dep["md5"] != _hash(now.get("deps", []), dep["path"])]
    if inputs:
        return f"different input {', '.join(inputs)}"
    facts = [
        f"{key} {before.facts[key]} then, {after.facts.get(key)} now"
        for key in before.facts
        if before.facts[key] != after.facts.get(key)
    ]
    return "; ".join(facts) or "no recorded fact differs: the stage is not deterministic"


def _hash(entries: list[dict[str, Any]], path: str) -> str | None:
    return next((entry["md5"] for entry in entries if entry["path"] == path), None)


def _table(verdicts: list[Verdict]) -> Table:
    table = Table("stage", "output", "verdict", "why", box=None, header_style="bold")
    for each in verdicts:
        table.add_row(each.stage, each.path, Text(each.state, STYLES[each.state]), each.why)
    return table
