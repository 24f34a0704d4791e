"""Best of n on the tiny model: samples, rewards and curve are written, and are the same again."""

from pathlib import Path

import pytest
import torch

from pipelines import artifacts
from pipelines.alignment.backbone import scalar_head
from pipelines.alignment.reward_model import save_head
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.models import loading, saving
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from tasks.best_of_n import best_of_n

pytestmark = pytest.mark.slow


def answered(name: str, split: str = "validation", kind: str = "answerable", **more: object) -> Row:
    fields = {"set": kind, "kind": kind, "split": split, "cluster": name, "question": f"Who keeps lamp {name}?"}
    row = {"id": name, **fields, "accepted": ["Drace"], "competing": [], "verdict": "correct", "judged": False}
    return row | more


ANSWERS = [answered("a"), answered("b", judged=True), answered("c", "test"), answered("d", kind="general")]


@pytest.fixture
def reward(base: Path, config: Config) -> Path:
    """A reward model with a random head."""
    folder = artifacts.fresh("reward")
    model = preparation.adaptable(base, TuningConfig(method="lora", options={"r": 2, "lora_alpha": 4}), config.compute)
    saving.save_adapter(model, loading.tokenizer(base), folder)
    head = scalar_head(model)
    torch.nn.init.normal_(head.weight)
    save_head(head, folder)
    return folder


@pytest.fixture
def quick(config: Config) -> Config:
    return config.model_copy(
        update={
            "evaluate": config.evaluate.model_copy(update={"max_new_tokens": 3}),
            "best_of_n": config.best_of_n.model_copy(update={"n": 3}),
        }
    )


def test_samples_rewards_and_curve_are_written_deterministically(base: Path, reward: Path, quick: Config) -> None:
    out = artifacts.fresh("best_of_n")
    result = best_of_n("base", base, ANSWERS, reward, out, quick)
    assert (result["candidate"], result["n"], result["questions"]) == ("base", 3, 2)
    assert result["decoded"] == 0.5  # by the rules: a judge made one of the two correct
    assert [row["k"] for row in result["curve"]] == [1, 2, 3]
    assert not result["reward_against_majority"]["is_worse"]
    samples = artifacts.read_rows(out / "samples.jsonl")
    assert [row["id"] for row in samples] == ["a", "b"]
    told = [each for row in samples for each in row["samples"]]
    assert len(told) == 6 and len({each["answer"] for each in told}) > 1
    different = {(row["id"], each["answer"]) for row in samples for each in row["samples"]}
    assert len({each["reward"] for each in told}) == len(different)
    before = {path.name: path.read_bytes() for path in artifacts.files(out)}
    best_of_n("base", base, ANSWERS, reward, artifacts.fresh("best_of_n"), quick)
    assert {path.name: path.read_bytes() for path in artifacts.files(out)} == before
    assert set(before) == {"curve.json", "samples.jsonl"}


def test_an_empty_sample_has_no_reward_and_is_not_picked(
    base: Path, reward: Path, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [["", "Drace", ""], ["Vosper", "", "Drace"]]
    monkeypatch.setattr("tasks.best_of_n._texts", lambda *_: texts)
    out = artifacts.fresh("best_of_n")
    best_of_n("base", base, ANSWERS, reward, out, quick)
    rows = artifacts.read_rows(out / "samples.jsonl")
    assert [[each["reward"] is None for each in row["samples"]] for row in rows] == [
        [True, False, True],
        [False, True, False],
    ]
    assert [each["verdict"] for each in rows[0]["samples"]] == ["wrong", "correct", "wrong"]


def test_folder_without_a_reward_head_is_a_user_error(base: Path, reward: Path, quick: Config) -> None:
    (reward / "head.safetensors").unlink()
    with pytest.raises(UserError, match="no reward head for this model"):
        best_of_n("base", base, ANSWERS, reward, artifacts.fresh("best_of_n"), quick)
