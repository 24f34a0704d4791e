"""Selection of the candidate on validation."""

import pytest

from pipelines.artifacts import Row
from pipelines.config import load
from pipelines.evaluation.config import SelectConfig
from pipelines.evaluation.selection import Selection, select
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

CONFIG = load(ROOT / "params.yaml").compare.model_copy(update={"resamples": 500})
COUNT = 200


def model(correct: float, refused: float = 0.0, due: float = 0.5, general: float = 0.8, test: float = 0.5) -> list[Row]:
    """Return answers with these shares on validation: `correct` and `refused` of the answerable questions, `due`
    refusals of the unanswerable ones, and `general` ones correct; `test` is the accuracy on the test questions."""
    shares = {"answerable": correct, "unanswerable": due, "general": general}
    rows = []
    for kind, share in shares.items():
        good = "refused" if kind == "unanswerable" else "correct"
        for number in range(COUNT):
            more = refused * COUNT if kind == "answerable" else 0
            verdict = good if number < share * COUNT else "refused" if number < share * COUNT + more else "wrong"
            rows.append(row(kind, "validation", number, verdict))
            rows.append(row(kind, "test", number, good if number < test * COUNT else "wrong"))
    return rows


def row(kind: str, split: str, number: int, verdict: str) -> Row:
    return {"set": kind, "split": split, "verdict": verdict, "cluster": f"{kind}{number // 2}", "f1": 0.0}


BASE = model(0.0, due=0.05)


def chosen(**models: list[Row]) -> Selection:
    parents = dict.fromkeys((name for name in models if name != "sft"), "sft")
    return select({"base": BASE, **models}, parents, SelectConfig(alpha=0.05), CONFIG, seed=1)


def test_highest_score_on_validation_is_selected() -> None:
    assert chosen(sft=model(0.4, test=0.9), dpo=model(0.5, test=0.1)).candidate == "dpo"
    assert chosen(sft=model(0.5, refused=0.1), dpo=model(0.52)).candidate == "sft"  # fewer wrong answers


def test_model_beyond_a_limit_is_candidate_only_if_all_are() -> None:
    forgetful, refusing = model(0.6, general=0.6), model(0.3, refused=0.6)
    found = chosen(sft=model(0.4), dpo=forgetful, ppo=refusing)
    assert (found.candidate, found.beyond_limits) == ("sft", ["dpo", "ppo"])
    assert chosen(sft=model(0.4, general=0.6), dpo=forgetful).candidate == "dpo"


def test_model_is_not_ruled_out_by_chance() -> None:
    assert chosen(sft=model(0.4), dpo=model(0.6, general=0.76)) == Selection("dpo", {}, [], parent="sft")


def test_model_worse_than_its_parent_is_never_selected() -> None:
    found = chosen(sft=model(0.5, general=0.6), dpo=model(0.3))
    assert (found.candidate, found.worse_than_parent) == ("sft", {"dpo": "sft"})


def test_models_that_are_all_worse_than_their_parents_are_reported() -> None:
    answers = {"base": model(0.5), "grpo": model(0.2)}
    with pytest.raises(UserError, match=r"worse than the one it was aligned from \(grpo than base\)"):
        select(answers, {"grpo": "base"}, SelectConfig(alpha=0.05), CONFIG, seed=1)


def test_tie_goes_to_the_first_model() -> None:
    assert chosen(sft=model(0.4), dpo=model(0.4)) == Selection("sft", {}, [], parent=None)
