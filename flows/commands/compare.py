"""Compare two results: inputs, metrics and changed verdicts. Standalone: gradus compare

Reads two dvc.lock files and, from DVC's cache, the answers of each candidate to the test questions.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.commands.runs import Side, side, whole_runs
from flows.dag.dvc_lock import code_entry
from flows.dag.staleness import differences, library_changes
from pipelines.artifacts import Row
from pipelines.evaluation.comparison import is_desired
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.metrics import METRICS, units
from pipelines.evaluation.statistics import bootstrap
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError

SHOWN = 5  # changed questions printed in each direction

Pair = tuple[Row, Row]


def compare(console: Console, names: list[str], config: CompareConfig, seed: int) -> None:
    """Print how the second of two results differs from the first; by default the last two whole runs.

    Raises:
        UserError: there are not two results, or the answers of one are gone.
    """
    if not names:
        names = [run.info.run_id for run in reversed(whole_runs()[:2])]
    if len(names) != 2:
        raise UserError(
            "A comparison needs two results: name two runs, versions or commits; `gradus runs` lists the runs."
        )
    before, after = (side(name) for name in names)
    models = before.candidate(), after.candidate()
    pairs = list(_pairs(before.answers(models[0]), after.answers(models[1])))
    if not pairs:
        raise UserError(f"{before.name} and {after.name} have no test question in common.")
    console.print(f"{before.name} ({models[0]}) → {after.name} ({models[1]})", highlight=False)
    for title, lines in _inputs(before, after):
        console.print(Text(f"{title}: {'; '.join(lines) or 'the same'}"))
    console.print(_figures(pairs, config, seed))
    for title, changed in _verdict_changes(pairs):
        console.print(Text(f"{title}: {len(changed)} of {len(pairs)} questions", "bold"))
        for one, other in changed[:SHOWN]:
            console.print(Text(f"  {one['question']}\n    before: {one['answer']}\n    after:  {other['answer']}"))


def _pairs(before: list[Row], after: list[Row]) -> Iterator[Pair]:
    """Yield both answers to every test question that both results were asked in the same words."""
    asked = {(row["id"], row["question"]): row for row in after if row["split"] == "test"}
    for row in before:
        if row["split"] == "test" and (row["id"], row["question"]) in asked:
            yield row, asked[row["id"], row["question"]]


def _inputs(before: Side, after: Side) -> Iterator[tuple[str, list[str]]]:
    one, other = _read(before), _read(after)
    changed = sorted(path for path in one.keys() & other.keys() if one[path] != other[path])
    changed += sorted(f"{path} (only in one)" for path in one.keys() ^ other.keys())
    yield "Parameters", _parameters(before, after)
    yield "Data", [path for path in changed if not path.endswith(".py")]
    yield "Code", [path for path in changed if path.endswith(".py")] + _code(before, after)


def _parameters(before: Side, after: Side) -> list[str]:
    found: dict[str, None] = {}
    for stage in before.stages.keys() & after.stages.keys():
        one, other = (each.stages[stage].get("params", {}) for each in (before, after))
        for path in (one.keys() | other.keys()) - {str(code_lock.LOCK)}:
            for key in one.get(path, {}).keys() | other.get(path, {}).keys():
                lines = differences(one.get(path, {}).get(key), other.get(path, {}).get(key), key)
                found |= dict.fromkeys(line.removeprefix("tool.gradus.") for line in lines)
    return sorted(found)


def _code(before: Side, after: Side) -> list[str]:
    """Return the stages whose code differed and the libraries whose version differed, according to code.lock.yaml."""
    found: dict[str, None] = {}
    for stage in sorted(before.stages.keys() & after.stages.keys()):
        name = stage.partition("@")[0]
        one, other = (code_entry(each.stages[stage], name) for each in (before, after))
        changed = [name] if one.get("code") != other.get("code") else []
        found |= dict.fromkeys(changed + library_changes(one, other))
    return list(found)


def _read(each: Side) -> dict[str, str]:
    """Return the hash of every input of the stages that no stage produced."""
    deps = [dep for stage in each.stages.values() for dep in stage.get("deps", [])]
    outs = [Path(out["path"]) for stage in each.stages.values() for out in stage.get("outs", [])]
    outputs = {str(path) for out in outs for path in (out, *out.parents)}  # a stage may read a folder of outputs
    return {dep["path"]: str(dep.get("md5")) for dep in deps if dep["path"] not in outputs}


def _figures(pairs: list[Pair], config: CompareConfig, seed: int) -> Table:
    """Return each metric before and after, with the difference and its paired 95% interval."""
    table = Table("", "before", "after", "change", "95% interval", box=None, header_style="bold")
    before, after = (units(pair[place] for pair in pairs) for place in (0, 1))
    for name, rows in after.items():
        shown = METRICS[name]
        how = config.resamples, seed, config.min_clusters, shown.change_limits
        change = bootstrap.difference(rows, before[name], *how)
        scale, form, unit = (100, ".1f", "%") if shown.share else (1, ".2f", "")
        values = (f"{scale * bootstrap.value(each):{form}}{unit}" for each in (before[name], rows))
        low, high = (f"{scale * bound:+{form}}" for bound in change.bounds(0.025))
        table.add_row(shown.title, *values, f"{scale * change.value:+{form}}", f"{low} to {high}")
    return table


def _verdict_changes(pairs: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the questions answered correctly in only one result; refusing an unanswerable question is correct."""
    yield "Correct before, not after", [pair for pair in pairs if is_desired(pair[0]) and not is_desired(pair[1])]
    yield "Correct after, not before", [pair for pair in pairs if is_desired(pair[1]) and not is_desired(pair[0])]
