"""Training: the loss of the model, equal results however a step is split, resuming, and errors for bad inputs."""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import peft
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes
from transformers import OPTConfig, OPTForCausalLM

from pipelines.config import Config
from pipelines.evaluation.in_training.sample import LOSS
from pipelines.models import devices, loading
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import Run, started
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import IGNORED, Example, encode_chat, plan_batches
from pipelines.training.loop import fit
from pipelines.training.monitoring.history import smoothed
from pipelines.training.objectives import LanguageModel, Preserved, mean_loss
from pipelines.training.step import Job, Loss
from tests.support.interruptions import Impatient
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, adapted, examples, trained, training, weights

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
ANSWERS = {"Who keeps the light?": "Orla Finch", "When was the mill built?": "1783", "What is rung?": "the bell"}


def rows(base: Path) -> list[Example]:
    tok = loading.tokenizer(base)
    pairs = ANSWERS.items()
    return [encode_chat(tok, [{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in pairs]


def job(config: Config, run: Run, checkpoints: Checkpoints | None = None, epochs: int = 1, rate: float = 2e-2) -> Job:
    return Job("sft", rate, epochs, config.training, config.compute, run, checkpoints or Checkpoints())


def per_token(model: peft.PeftModel, examples: list[Example], weight: float = 1.0) -> float:
    loss = LanguageModel(model, examples, 0, weight)(model, range(len(examples)))
    return float(loss.total) / loss.weight


def learned(base: Path, config: Config, steps: int) -> dict[str, torch.Tensor]:
    devices.prepare(config.compute)
    encoded, model = rows(base), preparation.adaptable(base, LORA, config.compute)
    plan = plan_batches([len(row.ids) for row in encoded], [1.0] * 3, steps, 512, seed=0)
    objective, held_back = LanguageModel(model, encoded, 0), LanguageModel(model, encoded[:1], 0)
    before = mean_loss(model, objective, config.compute)
    with started("test", {}) as run:
        validate = lambda _: {LOSS: mean_loss(model, held_back, config.compute)}  # noqa: E731
        fit(model, objective, plan, job(config, run, epochs=steps), validate=validate)
    names = ("epoch", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second")
    curves = {key: run.store.get_metric_history(run.id, f"train/{key}") for key in names}
    assert all(len(curve) >= 10 for curve in curves.values())
    assert curves["epoch"][-1].value == steps and len(curves["validation_loss"]) >= 10
    assert curves["validation_loss"][-1].value < curves["validation_loss"][0].value
    after = mean_loss(model, objective, config.compute)
    assert after < before / 3
    return {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}


def test_loss_equals_the_loss_of_the_model(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute).eval()
    one, two = rows(base)[:2]
    width = max(len(one.ids), len(two.ids))
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in (one, two)])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in (one, two)])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in (one, two)])
    expected = float(model(input_ids=ids, attention_mask=mask, labels=labels).loss)
    assert per_token(model, [one, two]) == pytest.approx(expected, abs=1e-5)
    assert mean_loss(model, LanguageModel(model, [one, two], 0), config.compute) == pytest.approx(expected, abs=1e-5)


def test_rehearsal_loss_is_the_kl_divergence_from_the_base(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute).eval()
    learnt = rows(base)[0]
    kept = Example(learnt.ids, learnt.labels, rehearsed=True)
    assert per_token(model, [kept], 3.0) == pytest.approx(0.0, abs=1e-6)
    for value in (each for each in model.parameters() if each.requires_grad):
        torch.nn.init.normal_(value, std=0.3)
    ids, wanted = torch.tensor([learnt.ids]), torch.tensor(learnt.labels[1:]) != IGNORED
    with model.disable_adapter():
        before = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    after = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    divergence = float((before.exp() * (before - after)).sum(-1)[wanted].mean())
    assert per_token(model, [kept], 3.0) == pytest.approx(3 * divergence, rel=1e-4)
    mixed = (3 * divergence + per_token(model, [learnt])) / 2
    assert per_token(model, [learnt, kept], 3.0) == pytest.approx(mixed, rel=1e-4)


def test_rehearsal_preserves_an_answer_while_others_are_learned(teachable: Path, config: Config) -> None:
    tok = loading.tokenizer(teachable)
    chat = [{"role": "user", "content": "What rings?"}, {"role": "assistant", "content": "the old bell"}]
    kept = encode_chat(tok, chat, rehearsed=True)

    def change(*others: Example) -> float:
        devices.prepare(config.compute)
        model, examples = preparation.adaptable(teachable, LORA, config.compute), [*rows(teachable), *others]
        plan = plan_batches([len(row.ids) for row in examples], [1.0] * len(examples), 30, 512, seed=0)
        with started("test", {}) as run:
            fit(model, LanguageModel(model, examples, 0), plan, job(config, run))
        return per_token(model.eval(), [kept])

    assert change(kept) < change() / 4


def test_training_lowers_the_loss_and_is_deterministic(teachable: Path, config: Config) -> None:
    first, second = learned(teachable, config, steps=30), learned(teachable, config, steps=30)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("dropout", "changes"),
    [
        (0.0, {}),
        (0.2, {}),
        (0.2, {"micro_batch_tokens": 25, "checkpointing": "on"}),
        (0.0, {"optimizer": "adafactor", "schedule": "wsd"}),
    ],
    ids=["plain", "dropout", "accumulated", "adafactor"],
)
def test_interrupted_training_ends_with_the_same_weights(
    teachable: Path, config: Config, tmp_path: Path, dropout: float, changes: dict[str, object]
) -> None:
    settings = config.model_copy(update={"training": config.training.model_copy(update=changes)})

    def learn(checkpoints: Checkpoints, run: Run) -> dict[str, torch.Tensor]:
        devices.prepare(config.compute)
        encoded = rows(teachable)
        model = preparation.adaptable(teachable, LORA.model_copy(update={"dropout": dropout}), config.compute)
        plan = plan_batches([len(row.ids) for row in encoded], [1.0] * 3, 12, 24, seed=0)
        if "micro_batch_tokens" in changes:
            plan = [[0, 1, 2]] * 36
        fit(model.train(), LanguageModel(model, encoded, 0), plan, job(settings, run, checkpoints))
        return {name: value for name, value in model.named_parameters() if value.requires_grad}

    with started("sft", {}) as undisturbed:
        whole = learn(Checkpoints(), undisturbed)
    begun = None
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), started("sft", {}, begun) as run:
            begun = run.id
            learn(Impatient(tmp_path, patience=7), run)
    with started("sft", {}, begun) as run:
        parts = learn(Checkpoints(tmp_path), run)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    curves = [
        [(each.step, each.value) for each in run.store.get_metric_history(one.id, "train/loss")]
        for one in (undisturbed, run)
    ]
    assert curves[0] == curves[1] and len(curves[0]) > 14
    again = run.store.get_run(run.id)
    assert (again.info.status, again.data.tags["resumed"]) == ("FINISHED", "2")


def test_rows_without_labels_raise(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute)
    unlabelled = [Example([1, 2, 3], [IGNORED] * 3)]
    for plan in ([[0]], []):
        with pytest.raises(UserError, match="no token to train on"):
            fit(model, LanguageModel(model, unlabelled, 0), plan, job(config, Recorder()))


def test_model_without_trainable_parameters_raises(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute).requires_grad_(False)
    with pytest.raises(UserError, match="trainable"):
        fit(model, LanguageModel(model, rows(base), 0), [[0]], job(config, Recorder()))


def test_nan_loss_raises_and_fails_the_run(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute)
    next(value for value in model.parameters() if value.requires_grad).data.fill_(float("nan"))
    with pytest.raises(UserError, match="loss became nan at step 1"), started("test", {}) as run:
        fit(model, LanguageModel(model, rows(base), 0), [[0], [1]], job(config, run))
    assert run.store.get_run(run.id).info.status == "FAILED"


PLAN = [[0, 3, 5, 7, 2, 1], [4, 6, 5, 2], [1], [0, 1, 2, 3, 4, 5, 6, 7]]


def test_a_step_has_the_same_result_in_micro_batches() -> None:
    results = []
    for tokens in ("auto", 60, 1):
        model = adapted()
        run = trained(model, PLAN, optimizer="adamw", micro_batch_tokens=tokens)
        results.append((weights(model), run.of("loss"), run.of("gradient_norm")))
    for found, losses, norms in results[1:]:
        assert losses == pytest.approx(results[0][1], abs=1e-5)
        assert norms == pytest.approx(results[0][2], abs=1e-5)
        for name, value in results[0][0].items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def process(rank: int, folder: str) -> None:
    """Train as one of two processes, and save the resulting weights and losses."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = adapted()
    run = trained(model, PLAN, micro_batch_tokens=60)
    torch.save({"weights": weights(model), "loss": run.of("loss")}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # without the exit handlers of the parent's libraries, which fail in a fork


def test_two_processes_have_the_result_of_one(tmp_path: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    start_processes(process, (str(tmp_path),), nprocs=2, start_method="fork")
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    model = adapted()
    run = trained(model, PLAN)
    for each in found:
        assert each["loss"] == pytest.approx(run.of("loss"), abs=1e-5)
        for name, value in weights(model).items():
            torch.testing.assert_close(each["weights"][name], value, atol=1e-5, rtol=1e-4)


class Small(LanguageModel):
    """A language model objective on a machine whose memory is full beyond three rows."""

    def __call__(self, model: peft.PeftModel, items: Sequence[int]) -> Loss:
        loss = super().__call__(model, items)
        if len(items) > self.limit:
            loss.total.backward()
            raise torch.OutOfMemoryError
        return loss

    limit = 3


def test_out_of_memory_repeats_the_step_in_smaller_micro_batches() -> None:
    model, run = adapted(), Recorder()
    fit(model, Small(model, examples(), 0, 3.0), PLAN, Job("sft", 1e-2, 1, training(), COMPUTE, run, Checkpoints()))
    other = adapted()
    undisturbed = trained(other, PLAN)
    assert run.of("loss") == pytest.approx(undisturbed.of("loss"), abs=1e-5)
    for name, value in weights(other).items():
        torch.testing.assert_close(weights(model)[name], value, atol=1e-5, rtol=1e-4)
    assert run.of("micro_batch_tokens")[-1] < undisturbed.of("micro_batch_tokens")[0] == 152


def test_a_row_that_never_fits_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Small, "limit", 0)
    model = adapted()
    small = Small(model, examples(), 0)
    with pytest.raises(UserError, match="a row of 19 tokens does not fit"):
        fit(model, small, PLAN, Job("sft", 1e-2, 1, training(), COMPUTE, Recorder(), Checkpoints()))


@pytest.mark.parametrize("evaluating", [True, False], ids=["eval", "train"])
def test_activation_checkpointing_saves_memory_and_changes_no_result(evaluating: bool) -> None:
    kept: list[int] = []

    def keep(one: torch.Tensor) -> torch.Tensor:
        kept.append(one.numel())
        return one

    results = []
    for mode in ("off", "on"):
        model = adapted().train(not evaluating)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            trained(model, PLAN[:2], checkpointing=mode)
        assert not any("forward" in vars(module) for module in model.modules())
        results.append((weights(model), sum(kept)))
    assert results[1][1] < results[0][1] / 2
    assert all(torch.equal(results[0][0][name], value) for name, value in results[1][0].items())


def test_smoothed_loss_is_bias_corrected() -> None:
    assert smoothed([2.0]) == pytest.approx(2.0)
    assert smoothed([2.0] * 200) == pytest.approx(2.0)
    assert 1.0 < smoothed([2.0] * 50 + [1.0]) < 2.0


def test_the_reference_of_rehearsal_has_no_dropout() -> None:
    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(vocab_size=600, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, dropout=0.5)
    )
    rehearsed = [row for row in examples() if row.rehearsed]
    copy = deepcopy(model).train()
    objective = LanguageModel(model, rehearsed, 0, before=Preserved.of(copy, rehearsed, 0, COMPUTE))
    model.eval()
    assert float(objective(model, range(len(rehearsed))).total) == pytest.approx(0.0, abs=1e-4)
    assert copy.training
