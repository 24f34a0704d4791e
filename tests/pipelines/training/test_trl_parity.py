"""Losses and gradients equal those of TRL's trainers."""

from pathlib import Path

import datasets
import peft
import pytest
import torch
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from pipelines.alignment.backbone import POLICY, Backbone, train_only
from pipelines.alignment.dpo import Preference
from pipelines.alignment.sequences import Pair
from pipelines.training.objectives import LanguageModel, padded
from pipelines.training.step import Job, Objective, accumulate, averaged
from tests.conftest import tiny_tokenizer
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, Checkpoints, adapted, examples, training

pytestmark = pytest.mark.slow

COMMON = {
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "max_length": None,
    "disable_tqdm": True,
}


def step(model: peft.PeftModel, objective: Objective, items: list[int]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the gradients of one step in micro-batches of at most 100 tokens."""
    job = Job("sft", 1e-3, 1, training(), COMPUTE, Recorder(), Checkpoints())
    parameters = [value for value in model.parameters() if value.requires_grad]
    sums, _ = accumulate(model, parameters, objective, items, 100, job)
    return averaged(parameters, sums, float("inf"), job, 1)["loss"], gradients(model)


def gradients(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    """Return and remove the gradients of the adapter "default"."""
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found


def assert_equal(ours: tuple[float, dict[str, torch.Tensor]], loss: torch.Tensor, model: peft.PeftModel) -> None:
    loss.backward()
    theirs = gradients(model)
    assert ours[0] == pytest.approx(float(loss), abs=1e-5)
    assert ours[1].keys() == theirs.keys() and len(theirs) > 20
    for name, value in theirs.items():
        torch.testing.assert_close(ours[1][name], value, atol=1e-5, rtol=1e-4)


def test_language_model_loss_equals_that_of_the_sft_trainer(tmp_path: Path) -> None:
    model, rows = adapted().eval(), [row for row in examples() if not row.rehearsed]
    ours = step(model, LanguageModel(model, rows, 0), list(range(len(rows))))
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(tmp_path), dataset_kwargs={"skip_prepare_dataset": True}, **COMMON),
        train_dataset=datasets.Dataset.from_dict({"input_ids": [row.ids for row in rows]}),
        processing_class=tiny_tokenizer(),
    )
    batch = {
        "input_ids": padded([row.ids for row in rows], 0),
        "labels": padded([row.labels for row in rows], -100),
        "attention_mask": padded([[1] * len(row.ids) for row in rows], 0),
    }
    assert_equal(ours, trainer.compute_loss(model, batch), model)


@pytest.mark.parametrize("sft_weight", [0.0, 0.3])
def test_preference_loss_equals_that_of_the_dpo_trainer(tmp_path: Path, sft_weight: float) -> None:
    tok, model = tiny_tokenizer(), adapted()
    pairs: list[Pair] = [
        ((list(range(5, 9 + n)), list(range(50, 53 + n))), (list(range(5, 9 + n)), list(range(80, 86 - n))))
        for n in range(4)
    ]
    train_only(model, [POLICY])
    objective = Preference(Backbone(model, tok, COMPUTE), pairs, beta=0.5, sft_weight=sft_weight)
    objective.refer([[0, 1, 2, 3]])
    mixed = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, sft_weight]} if sft_weight else {}
    rows = [{"prompt_ids": one[0], "chosen_ids": one[1], "rejected_ids": other[1]} for one, other in pairs]

    class Tokenised(DPOTrainer):  # type: ignore[misc]  # trl is not followed by the type checker
        def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
            return dataset

    trainer = Tokenised(
        model=model,
        args=DPOConfig(output_dir=str(tmp_path), beta=0.5, **mixed, **COMMON),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tok,
    )
    train_only(model, [POLICY])
    for name, value in model.named_parameters():
        if value.requires_grad and "lora_B" in name:
            value.data.add_(0.1)
    ours = step(model, objective, [0, 1, 2, 3])
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    assert abs(float(loss) - 0.693) > 0.01
    assert_equal(ours, loss, model)
