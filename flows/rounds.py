"""Loops of alignment: rounds that each start from the model of the round before. `gradus loop spin --rounds 3`

A round is rows of the block `alignment` of params.yaml (pipelines/alignment/rows.py), so that it is cached, tracked and
reproduced as any stage. The loop writes the rows of one round, runs them up to the evaluation on the validation
questions, and goes on only from a better model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.preflight import check
from flows.run import overrides
from flows.run.errors import StageError
from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.comparison import of
from pipelines.evaluation.metrics import METRICS, units
from pipelines.evaluation.questions import VALIDATION
from pipelines.evaluation.statistics.bootstrap import difference, value
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_text

SHOWN = ("score", "answer_accuracy", "hallucination_rate", "refusal_recall")
Rows = dict[str, dict[str, dict[str, Any]]]
"""Rows by table and name."""


@dataclass(frozen=True)
class Loop:
    """The rows of one round, and the table whose row is its model."""

    rows: Callable[[str, str, str], Rows]
    """Takes the name of the round, the directory of its policy, and the first row of `alignment.pairs`."""
    table: str
    what: str
    """Title of the table of its rounds."""


def _offline(ranker: str, scorer: str | None) -> Callable[[str, str, str], Rows]:
    """Return rounds of DPO on pairs of the policy's samples by `ranker`; without `scorer` the policy is the judge."""

    def rows(name: str, policy: str, _: str) -> Rows:
        pairs = {"policy": policy, "ranker": ranker, "scorer": scorer or policy}
        return {"pairs": {name: pairs}, "align": {name: {"policy": policy, "pairs": name, "options": {}}}}

    return rows


def _rlaif(name: str, policy: str, _: str) -> Rows:
    online = {"policy": policy, "prompts": name, "scorer": f"reward/{name}", "method": "ppo"}
    return {
        "pairs": {name: {"policy": policy, "ranker": "judge", "scorer": "teacher"}},
        "reward": {name: {"policy": policy, "pairs": name}},
        "rl": {name: {**online, "options": {"reward": {"model": 1.0}}}},
    }


def _direct(name: str, policy: str, prompts: str) -> Rows:
    online = {"policy": policy, "prompts": prompts, "scorer": "teacher", "method": "grpo"}
    return {"rl": {name: {**online, "options": {"reward": {"judge": 1.0}}}}}


LOOPS = {
    "dpo": Loop(_offline("reference", "curate"), "align", "iterative DPO: new samples, ranked by the references"),
    "spin": Loop(_offline("self_play", "curate"), "align", "SPIN: the reference answers against the policy's samples"),
    "self-rewarding": Loop(_offline("score", None), "align", "DPO on samples that the policy itself rates"),
    "rlaif": Loop(_rlaif, "rl", "PPO with a reward model of a judge's comparisons"),
    "rlaif-direct": Loop(_direct, "rl", "GRPO on the ratings of a judge, without a reward model"),
}


def first(kind: str, policy: str) -> tuple[Config, str]:
    """Return the checked parameters, and the name in `evaluate.models` of the policy of the first round.

    Raises:
        UserError: there is no such loop, `evaluate.models` has no model `policy`, or the parameters are invalid.
    """
    if kind not in LOOPS:
        raise UserError(f"There is no loop {kind!r}; choose one of {', '.join(LOOPS)}.")
    settings = check()
    for name, model in settings.evaluate.models.items():
        if model == policy:
            return settings, name
    raise UserError(f"evaluate.models has no {policy}, with which the first round is compared; add it.")


def loop(
    console: Console, kind: str, rounds: int, policy: str, run: Callable[[Config, list[str]], object]
) -> list[str]:
    """Run up to `rounds` rounds of the loop `kind`, the first from `policy`, and print how each compares.

    `run` computes stages. A round whose score on the validation questions is not above that of the model it started
    from ends the loop. Rows of a round without a model, for example because no pair is left, are removed again. A
    round from a policy that an earlier loop started from is that loop's: an interrupted loop continues.
    Returns the names of the models of the rounds.

    Raises:
        UserError: as `first`.
        StageError: a stage crashed.
    """
    settings, start = first(kind, policy)
    names, table = [start], _table(LOOPS[kind].what)
    run(settings, [f"evaluate@{start}"])
    table.add_row(start, *_figures(start), "")
    for number in range(1, rounds + 1):
        name = _name(kind, policy, settings)
        before = read_text(overrides.PARAMS)
        settings = _add(kind, name, policy, settings)
        try:
            run(settings, [f"evaluate@{name}"])
        except StageError as error:
            if not error.user:
                raise
            overrides.PARAMS.write_text(before, encoding="utf-8")
            console.print(f"{error.stage}: {error} The loop ends before round {number}.", highlight=False)
            break
        change, text = _change(name, names[-1], settings)
        table.add_row(name, *_figures(name), text)
        names.append(name)
        if change <= 0:
            console.print(f"{name} is no better than {names[-2]}, so the loop ends.", highlight=False)
            break
        policy = f"{LOOPS[kind].table}/{name}"
    console.print(table)
    return names[1:]


def _rows(kind: str, name: str, policy: str, settings: Config) -> Rows:
    """Return the rows of a round. There always are pairs, on which `best_of_n.reward` was trained."""
    return LOOPS[kind].rows(name, policy, next(iter(settings.alignment.pairs)))


def _name(kind: str, policy: str, settings: Config) -> str:
    """Return the first name of a round of `kind` that is unused, or whose rows and model are those of the round."""

    def usable(name: str) -> bool:
        model = f"{LOOPS[kind].table}/{name}"
        known = (
            (settings.alignment.rows.get(f"{table}/{name}"), rows[name])
            for table, rows in _rows(kind, name, policy, settings).items()
        )
        return settings.evaluate.models.get(name, model) == model and all(
            row is None or all(getattr(row, key) == given for key, given in wanted.items()) for row, wanted in known
        )

    return next(filter(usable, (f"{kind}-{number}" for number in count(1))))


def _add(kind: str, name: str, policy: str, settings: Config) -> Config:
    """Write the rows of a round, and its model to evaluate, into params.yaml; return the parameters."""
    rows = _rows(kind, name, policy, settings)
    recipe: Mapping[str, Any] = {
        "alignment": rows,
        "evaluate": {"models": {name: f"{LOOPS[kind].table}/{name}"}},
    }
    text = overrides.merged(read_text(overrides.PARAMS), recipe)
    overrides.checked(text, f"params.yaml with {name}")
    overrides.PARAMS.write_text(text, encoding="utf-8")
    return check()


def _answers(name: str) -> list[artifacts.Row]:
    return of(artifacts.read_rows(artifacts.read(f"evaluate/{name}") / "answers.jsonl"), VALIDATION)


def _change(name: str, before: str, settings: Config) -> tuple[float, str]:
    """Return the paired difference of two models' scores on the validation questions, also with its 95% interval."""
    now, then = (units(_answers(each))["score"] for each in (name, before))
    limits = settings.compare
    change = difference(
        now, then, limits.resamples, settings.compute.seed, limits.min_clusters, METRICS["score"].change_limits
    )
    low, high = change.bounds(0.025)
    return change.value, f"{change.value:+.2f} ({low:+.2f} to {high:+.2f})"


def _figures(name: str) -> list[str]:
    measured = units(_answers(name))
    return [f"{value(measured[metric]):.3f}" if metric in measured else "" for metric in SHOWN]


def _table(title: str) -> Table:
    shown = (metric.replace("_", " ") for metric in SHOWN)
    table = Table("model", *shown, "score against its start (95%)", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    return table
