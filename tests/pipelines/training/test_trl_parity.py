"""Loss and gradients of the language model equal those of TRL's trainer."""

from pathlib import Path

import datasets
import pytest
from trl import SFTConfig, SFTTrainer

from pipelines.training.objectives import LanguageModel, padded
from tests.conftest import tiny_tokenizer
from tests.support.parity import COMMON, assert_equal, step
from tests.support.trainings import adapted, examples

pytestmark = pytest.mark.slow


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
