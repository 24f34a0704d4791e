"""Preference losses and their gradients equal those of TRL's trainers."""

import os
from pathlib import Path
from typing import Any

import datasets
import peft
import pytest
from torch import Tensor
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from pipelines.alignment.backbone import POLICY, Backbone, train_only
from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.offline.preference import Preference
from pipelines.alignment.sequences import Pair
from pipelines.training.objectives import padded
from tests.conftest import tiny_tokenizer
from tests.support.pairs import block, pairs
from tests.support.parity import COMMON, assert_equal, step
from tests.support.trainings import COMPUTE, adapted

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

pytestmark = pytest.mark.slow

ALL = [0, 1, 2, 3]
PROMPTS = [list(range(5, 9 + n)) for n in range(4)]
TEXTS = datasets.Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
"""What the trainers of `trl.experimental` tokenise when they are created; the batches are given as tokens."""


class PreparedDPO(DPOTrainer):  # type: ignore[misc]  # trl is not followed by the type checker
    """The trainer, for a data set that is tokenised."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
        return dataset


class PreparedKTO(KTOTrainer):  # type: ignore[misc]
    """The trainer, for a data set that is tokenised."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
        return dataset


def objective(model: peft.PeftModel, config: PreferenceBlock, data: list[Pair]) -> Preference:
    """Return the objective with the adapter's present weights as its reference."""
    train_only(model, [POLICY])
    found = Preference(Backbone(model, tiny_tokenizer(), COMPUTE), data, config, [ALL])
    found.refer([ALL])
    found.check_start(ALL)
    return found


def move(model: peft.PeftModel, shift: float = 0.1) -> None:
    """Move the policy away from its reference."""
    train_only(model, [POLICY])
    for name, value in model.named_parameters():
        if value.requires_grad and "lora_B" in name:
            value.data.add_(shift)


@pytest.mark.parametrize(
    ("loss", "sft_weight"),
    [("sigmoid", 0.0), ("sigmoid", 0.3), ("sigmoid_norm", 0.0), ("ipo", 0.0), ("hinge", 0.0), ("robust", 0.3)],
)
def test_loss_equals_that_of_the_dpo_trainer(tmp_path: Path, loss: str, sft_weight: float) -> None:
    model, data, config = adapted(), pairs(PROMPTS), block(loss, sft_weight=sft_weight)
    ours = objective(model, config, data)
    extra: dict[str, Any] = {"loss_type": [loss, "sft"], "loss_weights": [1.0, sft_weight]} if sft_weight else {}
    extra |= {"label_smoothing": config.label_smoothing} if config.label_smoothing else {}
    rows = [{"prompt_ids": one[0], "chosen_ids": one[1], "rejected_ids": other[1]} for one, other in data]
    trainer = PreparedDPO(
        model=model,
        args=DPOConfig(output_dir=str(tmp_path), beta=0.5, **{"loss_type": [loss], **extra}, **COMMON),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )
    at_start = trainer.compute_loss(model, trainer.data_collator(rows))
    move(model)
    found = step(model, ours, ALL)
    theirs = trainer.compute_loss(model, trainer.data_collator(rows))
    assert abs(float(theirs) - float(at_start)) > 0.01
    assert_equal(found, theirs, model)


@pytest.mark.parametrize(("shift", "positive"), [(0.1, True), (-0.02, False)])
def test_loss_equals_that_of_the_kto_trainer(tmp_path: Path, shift: float, positive: bool) -> None:
    model, data, config = adapted(), pairs(PROMPTS), block("kto")
    ours = objective(model, config, data)
    answers = [pair[side][1] for side in (0, 1) for pair in data]  # unpaired: the chosen ones, then the rejected ones
    rows = [
        {"prompt_ids": prompt, "completion_ids": answers[n], "KL_completion_ids": answers[n - 1], "label": n < 4}
        for n, prompt in enumerate(PROMPTS * 2)
    ]
    trainer = PreparedKTO(
        model=model,
        args=KTOConfig(
            output_dir=str(tmp_path), beta=0.5, undesirable_weight=1.5, per_device_train_batch_size=8, **COMMON
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )
    move(model, shift)
    assert ours.mismatched is not None
    estimate = float(ours.mismatched(0, 100))
    assert estimate > 0.1 if positive else estimate == 0.0
    assert_equal(step(model, ours, ALL), trainer.compute_loss(model, trainer.data_collator(rows)), model)
    assert estimate == pytest.approx(trainer._metrics["eval"]["kl"][-1], abs=1e-5)


@pytest.mark.parametrize("loss", ["cpo", "simpo"])
def test_loss_equals_that_of_the_cpo_trainer(tmp_path: Path, loss: str) -> None:
    model, data, config = adapted(), pairs(PROMPTS), block(loss)
    kind = {"loss_type": "simpo", "simpo_gamma": config.target_margin} if loss == "simpo" else {"loss_type": "sigmoid"}
    trainer = CPOTrainer(
        model=model,
        args=CPOConfig(
            output_dir=str(tmp_path), beta=0.5, cpo_alpha=config.sft_weight, **kind, **{**COMMON, "max_length": 99}
        ),
        train_dataset=TEXTS,
        processing_class=tiny_tokenizer(),
    )
    found = step(model, objective(model, config, data), ALL)
    assert_equal(found, trainer.compute_loss(model, labelled(data)), model)


def test_loss_equals_that_of_the_orpo_trainer(tmp_path: Path) -> None:
    """Prompts have one token, as TRL's SFT loss includes the prompt and the paper's does not (eq. 2)."""
    model, data = adapted(), pairs([[5 + n] for n in range(4)])
    trainer = ORPOTrainer(
        model=model,
        args=ORPOConfig(output_dir=str(tmp_path), beta=0.5, **{**COMMON, "max_length": 99}),
        train_dataset=TEXTS,
        processing_class=tiny_tokenizer(),
    )
    found = step(model, objective(model, block("orpo"), data), ALL)
    assert_equal(found, trainer.compute_loss(model, labelled(data)), model)


def labelled(data: list[Pair]) -> dict[str, Tensor]:
    """Return a batch of the CPO and ORPO trainers: the answers are labelled."""
    batch: dict[str, Tensor] = {}
    for side, name in enumerate(("chosen", "rejected")):
        turns = [pair[side] for pair in data]
        batch[f"{name}_input_ids"] = padded([prompt + answer for prompt, answer in turns], 0)
        batch[f"{name}_labels"] = padded([[-100] * len(prompt) + answer for prompt, answer in turns], -100)
        batch[f"{name}_attention_mask"] = padded([[1] * len(prompt + answer) for prompt, answer in turns], 0)
    return batch
