"""The trainer: its loss equals the model's, training is deterministic and resumable, and invalid inputs raise."""

from pathlib import Path

import pytest
import torch
from pipelines.training.callback import smoothed
from pipelines.training.trainer import labelled_loss, mean_loss, train

from pipelines.config import Config
from pipelines.models import devices, loading
from pipelines.models.config import LoraConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import Run, started
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import IGNORED, Example, encode_chat, plan_batches
from tests.support.impatient import Impatient

pytestmark = pytest.mark.slow

LORA = LoraConfig(rank=4, alpha=8, dropout=0.0)
ANSWERS = {"Who keeps the light?": "Orla Finch", "When was the mill built?": "1783", "What is rung?": "the bell"}


def rows(base: Path) -> list[Example]:
    tok = loading.tokenizer(base)
    pairs = ANSWERS.items()
    return [encode_chat(tok, [{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in pairs]


def fit(base: Path, config: Config, steps: int, learning_rate: float = 2e-2) -> dict[str, torch.Tensor]:
    devices.prepare(config.compute)
    encoded, model = rows(base), loading.adaptable(base, LORA, config.compute)
    plan = plan_batches([len(row.ids) for row in encoded], [1.0] * 3, steps, 512, seed=0)
    options = {"learning_rate": learning_rate, "compute": config.compute, "what": "sft", "checkpoints": Checkpoints()}
    before = mean_loss(model, encoded, config.compute)
    with started("test", {}) as run:
        train(model, loading.tokenizer(base), encoded, plan, run=run, epochs=steps, held_back=encoded[:1], **options)
    curves = {key: run.store.get_metric_history(run.id, f"train/{key}") for key in ("epoch", "validation_loss")}
    assert curves["epoch"][-1].value == steps and len(curves["validation_loss"]) >= 10
    assert curves["validation_loss"][-1].value < curves["validation_loss"][0].value
    after = mean_loss(model, encoded, config.compute)
    assert after < before / 3
    return {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}


def test_loss_equals_the_loss_of_the_model(base: Path, config: Config) -> None:
    model = loading.adaptable(base, LORA, config.compute).eval()
    one, two = rows(base)[:2]
    width = max(len(one.ids), len(two.ids))
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in (one, two)])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in (one, two)])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in (one, two)])
    expected = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert torch.allclose(labelled_loss(model, ids, labels), expected, atol=1e-5)


def test_rehearsal_loss_is_the_kl_divergence_from_the_base(base: Path, config: Config) -> None:
    model = loading.adaptable(base, LORA, config.compute).eval()
    one, two = (torch.tensor([values]) for values in (rows(base)[0].ids, rows(base)[0].labels))
    rehearsed, weight = torch.tensor([True]), 3.0
    assert float(labelled_loss(model, one, two, rehearsed, weight)) == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(labelled_loss(model, one, two, ~rehearsed, weight), labelled_loss(model, one, two))
    for value in (each for each in model.parameters() if each.requires_grad):
        torch.nn.init.normal_(value, std=0.3)
    with model.disable_adapter():
        before = model(input_ids=one).logits[0, :-1].log_softmax(-1)
    after = model(input_ids=one).logits[0, :-1].log_softmax(-1)
    wanted = two[0, 1:] != IGNORED
    divergence = (before.exp() * (before - after)).sum(-1)[wanted].mean()
    assert float(labelled_loss(model, one, two, rehearsed, weight)) == pytest.approx(3 * float(divergence), rel=1e-4)
    both, labels = one.repeat(2, 1), two.repeat(2, 1)
    mixed = labelled_loss(model, both, labels, torch.tensor([True, False]), weight)
    assert float(mixed) == pytest.approx((3 * float(divergence) + float(labelled_loss(model, one, two))) / 2, rel=1e-4)


def test_rehearsal_preserves_an_answer_while_others_are_learned(teachable: Path, config: Config) -> None:
    tok = loading.tokenizer(teachable)
    chat = [{"role": "user", "content": "What rings?"}, {"role": "assistant", "content": "the old bell"}]
    known = encode_chat(tok, chat)

    def change(*others: Example) -> float:
        devices.prepare(config.compute)
        model, examples = loading.adaptable(teachable, LORA, config.compute), [*rows(teachable), *others]
        plan = plan_batches([len(row.ids) for row in examples], [1.0] * len(examples), 30, 512, seed=0)
        options = {"learning_rate": 2e-2, "compute": config.compute, "what": "sft", "checkpoints": Checkpoints()}
        with started("test", {}) as run:
            train(model, tok, examples, plan, run=run, **options)
        ids, labels = torch.tensor([known.ids]), torch.tensor([known.labels])
        return float(labelled_loss(model.eval(), ids, labels, torch.tensor([True]), 1.0))

    assert change(encode_chat(tok, chat, rehearsed=True)) < change() / 4


def test_training_lowers_the_loss_and_is_deterministic(teachable: Path, config: Config) -> None:
    first, second = fit(teachable, config, steps=30), fit(teachable, config, steps=30)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_interrupted_training_ends_with_the_same_weights(
    teachable: Path, config: Config, tmp_path: Path, dropout: float
) -> None:
    def fit(checkpoints: Checkpoints, run: Run) -> dict[str, torch.Tensor]:
        devices.prepare(config.compute)
        encoded = rows(teachable)
        model = loading.adaptable(teachable, LORA.model_copy(update={"dropout": dropout}), config.compute)
        plan = plan_batches([len(row.ids) for row in encoded], [1.0] * 3, 12, 24, seed=0)
        options = {"learning_rate": 2e-2, "compute": config.compute, "what": "sft", "checkpoints": checkpoints}
        train(model, loading.tokenizer(teachable), encoded, plan, run=run, **options)
        return {name: value for name, value in model.named_parameters() if value.requires_grad}

    with started("sft", {}) as undisturbed:
        whole = fit(Checkpoints(), undisturbed)
    begun = None
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), started("sft", {}, begun) as run:
            begun = run.id
            fit(Impatient(tmp_path, patience=7), run)
    with started("sft", {}, begun) as run:
        parts = fit(Checkpoints(tmp_path), run)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    curves = [
        [(each.step, each.value) for each in run.store.get_metric_history(one.id, "train/loss")]
        for one in (undisturbed, run)
    ]
    assert curves[0] == curves[1] and len(curves[0]) > 14
    again = run.store.get_run(run.id)
    assert (again.info.status, again.data.tags["resumed"]) == ("FINISHED", "2")


def test_rows_without_labels_raise(base: Path, config: Config) -> None:
    model = loading.adaptable(base, LORA, config.compute)
    unlabelled = [Example([1, 2, 3], [IGNORED] * 3)]
    options = {"learning_rate": 1e-3, "compute": config.compute, "what": "sft", "checkpoints": Checkpoints()}
    with started("test", {}) as run, pytest.raises(UserError, match="no token to train on"):
        train(model, loading.tokenizer(base), unlabelled, [[0]], run=run, **options)


def test_model_without_trainable_parameters_raises(base: Path, config: Config) -> None:
    model = loading.adaptable(base, LORA, config.compute).requires_grad_(False)
    options = {"learning_rate": 1e-3, "compute": config.compute, "what": "sft", "checkpoints": Checkpoints()}
    with started("test", {}) as run, pytest.raises(UserError, match="trainable"):
        train(model, loading.tokenizer(base), rows(base), [[0]], run=run, **options)


def test_nan_loss_raises_and_fails_the_run(base: Path, config: Config) -> None:
    model = loading.adaptable(base, LORA, config.compute)
    next(value for value in model.parameters() if value.requires_grad).data.fill_(float("nan"))
    options = {"learning_rate": 1e-3, "compute": config.compute, "what": "sft", "checkpoints": Checkpoints()}
    with pytest.raises(UserError, match="loss became nan"), started("test", {}) as run:
        train(model, loading.tokenizer(base), rows(base), [[0], [1]], run=run, **options)
    assert run.store.get_run(run.id).info.status == "FAILED"


def test_smoothed_loss_is_bias_corrected() -> None:
    assert smoothed([2.0]) == pytest.approx(2.0)
    assert smoothed([2.0] * 200) == pytest.approx(2.0)
    assert 1.0 < smoothed([2.0] * 50 + [1.0]) < 2.0
