"""Select: choose the candidate for promotion by the validation questions.

Reads artifacts/evaluate/<model>/ of every model in `evaluate.models`; writes artifacts/select/selection.json with
`candidate`, its `parent`, `worse_than_parent`, `beyond_limits`, and the hashes of the `weights` of the first two.
Run alone: python -m tasks.select
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from pipelines import artifacts
from pipelines.evaluation import comparison
from pipelines.evaluation.config import CompareConfig, SelectConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.selection import SELECTION, select
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task


def choose(
    evaluated: dict[str, Path],
    parents: Mapping[str, str],
    out: Path,
    config: SelectConfig,
    limits: CompareConfig,
    seed: int,
) -> dict[str, float]:
    """Choose among the evaluations in the folders `evaluated`, by model name; return each model's validation score.

    `parents` holds, by aligned model, the one that it was aligned from.

    Raises:
        UserError: the models cannot be compared, or none can be selected.
    """
    answers = {name: artifacts.read_rows(folder / "answers.jsonl") for name, folder in evaluated.items()}
    scores = {name: artifacts.read_json(folder / "scores.json") for name, folder in evaluated.items()}
    comparison.check_comparable(answers, {name: each["text"] for name, each in scores.items()}, limits.baseline)
    selection = select(answers, parents, config, limits, seed)
    chosen = [name for name in (selection.candidate, selection.parent) if name is not None]
    weights = {name: scores[name]["weights"] for name in chosen}  # so that `test` follows when they change
    artifacts.write_json(out / SELECTION, asdict(selection) | {"weights": weights})
    say(f"the candidate is {selection.candidate}")
    return {f"{name}.score": comparison.values(units(rows))["score"] for name, rows in answers.items()}


def check_leftovers(models: Iterable[str]) -> None:
    """Check that only `models` have evaluations, because the DVC stage depends on the whole folder.

    Raises:
        UserError: another model has an evaluation.
    """
    folder = artifacts.ARTIFACTS / "evaluate"
    if leftovers := sorted({each.name for each in folder.iterdir()} - set(models)):
        raise UserError(
            f"{folder} holds {leftovers[0]}, which evaluate.models in params.yaml does not name; remove it "
            "(`gradus run` does so automatically)."
        )


if __name__ == "__main__":
    with task("select") as t:
        folders = {name: t.input(f"evaluate/{name}") for name in t.config.evaluate.models}
        check_leftovers(folders)
        t.finish(choose(folders, t.config.parents, t.out, t.config.select, t.config.compare, t.config.compute.seed))
