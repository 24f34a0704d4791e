"""The benchmark of fine-tuning, with a tiny model: every figure is measured on rows of the project and of `curate`."""

from pathlib import Path

import pytest
import torch

from benchmarks.sft import main
from benchmarks.sft_products import PlainProducts
from pipelines.curation import schema
from pipelines.curation.schema import RowKind, TrainingRow
from pipelines.runtime.errors import UserError
from tests.support.trainings import adapted

pytestmark = pytest.mark.slow


def curated(folder: Path) -> Path:
    """Write rows of two variants, some of which rehearse, as `curate` does."""
    rows = [
        TrainingRow(
            [{"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": f"Number {number}."}],
            RowKind.REHEARSAL if number % 4 == 3 else RowKind.ANSWER,
            variant=number % 2,
        )
        for number in range(200)
    ]
    schema.write(folder / "train.jsonl", rows[:192])
    schema.write(folder / "validation.jsonl", rows[192:])
    return folder


def test_questions_of_the_project_are_trained_on_without_curated_rows() -> None:
    figures = main(count=80, epochs=1, tiny=True)
    assert figures.pop("demo_stage_s") is None
    assert set(figures) == {"speedup_vs_trl", "loss_ratio", "of_plain_products"}
    assert all(value is not None and value > 0 for value in figures.values())


def test_both_trainers_learn_curated_rows_equally_well(tmp_path: Path) -> None:
    figures = main(count=96, epochs=4, tiny=True, curated=curated(tmp_path))
    assert figures["loss_ratio"] == pytest.approx(1, abs=0.2)
    assert figures["demo_stage_s"] is not None and figures["demo_stage_s"] >= 0


def test_too_few_rows_are_an_error() -> None:
    with pytest.raises(UserError, match=r"These rows make \d steps, .*; raise --rows or --epochs"):
        main(count=8, epochs=1, tiny=True)


def test_operations_of_the_products_of_one_step() -> None:
    model = adapted()
    layers = [module for name, module in model.named_modules() if name.endswith("base_layer")]
    frozen = sum(layer.weight.numel() for layer in layers)
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    head = model.get_output_embeddings().weight.numel()
    products = PlainProducts(model, torch.float32)
    assert products.flops(10, 3) == 10 * (4 * frozen + 6 * trained) + 3 * 4 * head
    assert products.seconds(10, 3) > 0
