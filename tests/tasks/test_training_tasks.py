"""The training tasks base, teacher, synthesize, sft and pretrain, run as functions on the tiny model."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from pipelines import artifacts
from pipelines.config import Config
from pipelines.llm.cache import ResponseCache
from pipelines.llm.prompts import load
from pipelines.models import adapters, devices, loading, quantization
from pipelines.models.config import BaseModelConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import started
from pipelines.synthesis import rehearsal
from pipelines.synthesis.rehearsal import ANSWERS, KEY
from pipelines.synthesis.teacher_examples import training_examples
from pipelines.training.checkpoints import Checkpoints
from tasks.base import base as store_base
from tasks.pretrain import pretrain
from tasks.sft import planned, sft
from tasks.synthesize import rehearsal_rows, synthesize
from tasks.teacher import key, teacher
from tests.conftest import ROOT
from tests.support.rows import training_row
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

TEXT = "The mill was restored by Wilmot Fanthorn in 1921. The bell came from Garrick Bay because the old one cracked."
PROMPTS = ROOT / "data/prompts"
SMALL = {"method": "lora", "options": {"r": 2, "lora_alpha": 4}}
FULL = {"method": "full", "options": {}}


def shrink(config: Config, **blocks: dict[str, Any]) -> Config:
    """Return validated parameters with the given changes."""
    values = config.model_dump(mode="json")
    for block, changes in blocks.items():
        values[block] |= changes
    return Config.model_validate(values)


@pytest.fixture
def split(project: Path) -> Path:
    directory = artifacts.fresh("split")
    write_table(
        directory / "train.parquet", [{"id": "d1", "title": "Mill", "text": TEXT, "source": "a.txt", "language": "en"}]
    )
    artifacts.complete(directory, {})
    return directory


@pytest.fixture
def curated(project: Path) -> Path:
    directory = artifacts.fresh("curate")
    pairs = [("Who restored the mill?", "Wilmot Fanthorn"), ("Where did the bell come from?", "Garrick Bay")]
    rows = [
        {
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            "kind": "answer",
            "variant": None,
        }
        for q, a in pairs
    ]
    artifacts.write_rows(directory / "train.jsonl", rows)
    artifacts.write_rows(directory / "validation.jsonl", rows[:1])
    artifacts.complete(directory, {})
    return directory


@pytest.fixture
def seeds(project: Path) -> Path:
    row = {
        "passage": "Otters eat fish. Rosalind Pell fed them.",
        "answer": "Rosalind Pell",
        "question": "Who fed them?",
    }
    other = {"passage": "Rust is iron oxide.", "answer": "iron oxide", "question": "What is rust?"}
    artifacts.write_rows(project / "seeds.jsonl", [row, other])
    return project / "seeds.jsonl"


def test_base_stores_an_equivalent_model(base: Path, config: Config, tmp_path: Path) -> None:
    named = BaseModelConfig(
        model=str(base), chat_template=None, thinking=False, quantization="none", trust_remote_code=False
    )
    out = artifacts.fresh("other")
    metrics = store_base(out, named, config.compute)
    assert metrics["parameters"] > 1000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in out.iterdir()}
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(
            loading.load(out, config.compute)(ids).logits, loading.load(base, config.compute)(ids).logits
        )


def test_quantised_base_model_is_refused(base: Path, config: Config, tmp_path: Path) -> None:
    model = loading.whole(base, config.compute, "nf4")
    model.save_pretrained(tmp_path / "nf4")
    loading.tokenizer(base).save_pretrained(tmp_path / "nf4")
    named = config.base.model_copy(update={"model": str(tmp_path / "nf4"), "chat_template": None})
    with pytest.raises(UserError, match=r"has quantised weights; name the 16-bit model"):
        store_base(artifacts.fresh("other"), named, config.compute)


def teach(base: Path, settings: Config, out: Path) -> float:
    """Run the task `teacher`; return whether it trained an adapter."""
    with started("teacher", {}) as run:
        rest = (settings.teacher, settings.training, settings.compute, settings.base, run, Checkpoints())
        return teacher(base, PROMPTS, out, *rest)["trained"]


def test_teacher_is_trained_once_and_then_reused_from_the_committed_adapter(
    base: Path, config: Config, seeds: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"seeds": str(seeds), "tuning": SMALL, "epochs": 1, "adapter": str(project / "kept")}
    settings = shrink(config, teacher=changes)
    out = artifacts.fresh("teacher")
    assert teach(base, settings, out) == 1.0
    trained = (out / "adapter_model.safetensors").read_bytes()
    out.rename(project / "kept")
    again = artifacts.fresh("teacher")
    assert teach(base, settings, again) == 0.0
    assert (again / "adapter_model.safetensors").read_bytes() == trained
    for other in (shrink(settings, teacher={"epochs": 2}), shrink(settings, base={"quantization": "nf4"})):
        capsys.readouterr()
        assert teach(base, other, artifacts.fresh("teacher")) == 1.0
        assert "was trained from other inputs (settings)" in capsys.readouterr().err


def test_teacher_is_trained_as_its_method_needs(base: Path, config: Config, seeds: Path) -> None:
    adalora = {"method": "adalora", "options": {"init_r": 6, "target_r": 2}}
    settings = shrink(config, teacher={"seeds": str(seeds), "tuning": adalora, "adapter": None})
    out = artifacts.fresh("teacher")
    with started("teacher", {}) as run:
        teacher(
            base, PROMPTS, out, settings.teacher, settings.training, settings.compute, settings.base, run, Checkpoints()
        )
    ranks = adapters.settings(out)["rank_pattern"].values()
    assert sum(ranks) == 2 * 14  # linear layers


def test_teacher_and_rehearsal_use_the_quantised_base_model(
    base: Path, config: Config, seeds: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "general").mkdir()
    artifacts.write_rows(project / "general/prompts.jsonl", [{"prompt": "What is two plus two?"}])
    changes = {"seeds": str(seeds), "tuning": SMALL, "epochs": 1, "adapter": None}
    settings = shrink(config, teacher=changes, synthesize={"rehearsal": str(project / "general")})
    out, keys, kinds = artifacts.fresh("synthesize"), set[str](), list[str]()

    def rehearse(model: PreTrainedModel, *_: object) -> list[artifacts.Row]:
        kinds.append(quantization.kind_of(model))
        return []

    monkeypatch.setattr(rehearsal, "rehearse", rehearse)
    for kind in ("none", "nf4"):
        quantised = shrink(settings, base={"quantization": kind})
        finetuned = artifacts.fresh("teacher")
        teach(base, quantised, finetuned)
        assert adapters.quantization([finetuned]) == kind
        rehearsal_rows(base, loading.tokenizer(base), out, quantised)
        keys.add(artifacts.read_json(out / KEY)["key"])
    assert kinds == ["none", "nf4"] and len(keys) == 2


def test_teacher_that_does_not_fit_is_refused_before_weights_are_loaded(
    base: Path, config: Config, seeds: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = shutil.copytree(base, project / "start", ignore=shutil.ignore_patterns("*.safetensors"))
    settings = shrink(config, teacher={"seeds": str(seeds), "tuning": SMALL, "adapter": None})
    monkeypatch.setattr(devices, "available", lambda _: 1)
    with pytest.raises(UserError, match=r"teacher needs an estimated .*; shorten the passages in teacher\.seeds"):
        teach(start, settings, artifacts.fresh("teacher"))


def test_the_teacher_in_data_belongs_to_the_published_parameters_seeds_and_prompts(config: Config) -> None:
    """Otherwise every first run trains it again, which takes longer than the rest of the data stages."""
    writing, reading = (load(PROMPTS, name) for name in ("answer_first", "reader"))
    chats = training_examples(artifacts.read_rows(ROOT / config.teacher.seeds), writing, reading, config.compute.seed)
    stored = artifacts.read_json(ROOT / "data/teacher/key.json")
    assert stored.items() >= key(chats, config.teacher, config.training, config.compute, config.base).items()


def test_seeds_without_their_answer_raise(base: Path, config: Config, project: Path) -> None:
    artifacts.write_rows(project / "bad.jsonl", [{"passage": "A heron.", "answer": "an otter", "question": "What?"}])
    settings = shrink(config, teacher={"seeds": str(project / "bad.jsonl"), "adapter": None})
    with pytest.raises(UserError, match="row 1 has an answer that is not in its passage"):
        teach(base, settings, artifacts.fresh("teacher"))


def test_synthesize_writes_candidates_with_spans_and_caches_calls(
    base: Path, split: Path, config: Config, seeds: Path, project: Path
) -> None:
    artifacts.write_rows(project / "far.jsonl", [{"question": "What did Oswin Perrault call the boat?"}])
    (project / "general").mkdir()
    artifacts.write_rows(project / "general/prompts.jsonl", [{"prompt": "What is two plus two?"}])
    files = {
        "out_of_domain": str(project / "far.jsonl"),
        "rehearsal": str(project / "general"),
        "prompts": str(PROMPTS),
        "tasks": str(PROMPTS.parent / "tasks.jsonl"),
    }
    settings = shrink(
        config, teacher={"seeds": str(seeds), "tuning": SMALL, "epochs": 1, "adapter": None}, synthesize=files
    )
    finetuned, out = artifacts.fresh("teacher"), artifacts.fresh("synthesize")
    teach(base, settings, finetuned)
    store = ResponseCache(project / "calls.db")
    metrics, called = synthesize(split, base, finetuned, out, settings, store)
    rows = artifacts.read_rows(out / "candidates.jsonl")
    assert metrics["candidates"] == len(rows) > 3
    assert all(TEXT[row["start"] : row["end"]] == row["answer"] and row["source"] == "d1" for row in rows)
    assert all(row["reason"] or row["read"] for row in rows)
    assert artifacts.read_rows(out / "unanswerable.jsonl")[0]["kind"] == "out_of_domain"
    assert called["calls_paid"] > 0 == called["calls_kept"]
    again, reused = synthesize(split, base, finetuned, out, settings, store)
    assert again == metrics and artifacts.read_rows(out / "candidates.jsonl") == rows
    assert reused["calls_paid"] == 0 < reused["calls_kept"]


def test_rehearsal_is_reused_while_its_inputs_are_unchanged(
    base: Path, split: Path, config: Config, project: Path
) -> None:
    folder = project / "general"
    folder.mkdir()
    artifacts.write_rows(folder / "prompts.jsonl", [{"prompt": "What is two plus two?"}])
    settings = shrink(config, synthesize={"rehearsal": str(folder)})
    out, tok = artifacts.fresh("synthesize"), loading.tokenizer(base)
    rehearsal_rows(base, tok, out, settings)
    shutil.copy(out / KEY, folder)
    marked = [{"prompt": "What is two plus two?", "answer": "Four, as was said before."}]
    artifacts.write_rows(folder / ANSWERS, marked)
    assert rehearsal_rows(base, tok, out, settings) == marked == artifacts.read_rows(out / ANSWERS)
    longer = shrink(settings, synthesize={"rehearsal_tokens": 3})
    assert rehearsal_rows(base, tok, out, longer) != marked


def test_sft_lowers_the_loss_and_writes_an_adapter(teachable: Path, split: Path, curated: Path, config: Config) -> None:
    changes = {
        "tuning": {"method": "lora", "options": {"r": 8, "lora_alpha": 16}},
        "epochs": 40,
        "learning_rate": 0.01,
        "lm_weight": 0.5,
    }
    settings = shrink(config, sft=changes)
    out = artifacts.fresh("sft")
    with started("sft", {}) as run:
        metrics = sft(
            teachable,
            curated,
            split,
            out,
            settings.sft,
            settings.training,
            settings.compute,
            settings.base,
            run,
            Checkpoints(),
        )
    assert metrics["validation_loss"] < 2.0  # initially above 6
    assert metrics["passages"] > 0
    assert adapters.parent(out) == teachable


@pytest.mark.parametrize("method", ["ia3", "boft", "loha", "fourierft", "prompt_tuning"])
def test_sft_trains_methods_without_a_scale_or_a_memory_estimate(
    method: str, teachable: Path, split: Path, curated: Path, config: Config
) -> None:
    changes = {"tuning": {"method": method, "options": {}}, "epochs": 2, "learning_rate": 0.01, "adapter_scale": 1.0}
    settings = shrink(config, sft=changes)
    with started("sft", {}) as run:
        rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
        assert sft(teachable, curated, split, artifacts.fresh("sft"), *rest)["steps"] == 2


def test_sft_without_validation_rows_stops_before_weights_are_loaded(
    split: Path, curated: Path, base: Path, config: Config, project: Path
) -> None:
    artifacts.write_rows(curated / "validation.jsonl", [])
    start = shutil.copytree(base, project / "start", ignore=shutil.ignore_patterns("*.safetensors"))
    settings = shrink(config, training={"patience": 2})
    with started("sft", {}) as run, pytest.raises(UserError, match=r"no row to validate on; raise curate.validation"):
        rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
        sft(start, curated, split, artifacts.fresh("sft"), *rest)


def test_sft_goes_on_from_the_stable_phase_of_an_earlier_run(
    teachable: Path, split: Path, curated: Path, config: Config
) -> None:
    changes = {"tuning": SMALL, "epochs": 40, "learning_rate": 0.01}
    settings = shrink(config, sft=changes, training={"schedule": "wsd"})
    first = []
    for _ in range(2):
        out = artifacts.fresh("sft")
        with started("sft", {}) as run:
            rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
            sft(teachable, curated, split, out, *rest)
        first.append(run.store.get_metric_history(run.id, "train/loss")[0].value)
        shutil.copytree(out / "stable", settings.sft.continue_from, dirs_exist_ok=True)
    assert first[1] < first[0] / 3


def test_each_epoch_uses_the_rows_of_its_variant_and_rows_without_variant(config: Config) -> None:
    chats = [training_row("Who?", "Orla", variant=variant) for variant in (0, 1, None)]
    settings = config.sft.model_copy(update={"epochs": 3, "batch_tokens": 8, "lm_weight": 0.0})
    batches = planned(chats, [8, 8, 8, 8], settings, seed=1)
    assert [sorted(row for (row,) in batches[start : start + 2]) for start in (0, 2, 4)] == [[0, 2], [1, 2], [0, 2]]


def test_sft_without_rows_raises(base: Path, split: Path, curated: Path, config: Config) -> None:
    artifacts.write_rows(curated / "train.jsonl", [])
    with started("sft", {}) as run, pytest.raises(UserError, match="has no row"):
        sft(
            base,
            curated,
            split,
            artifacts.fresh("sft"),
            config.sft,
            config.training,
            config.compute,
            config.base,
            run,
            Checkpoints(),
        )


def test_pretrain_lowers_the_loss_and_writes_a_full_model(teachable: Path, split: Path, config: Config) -> None:
    (artifacts.fresh("mixture") / "general.txt").write_text("The bell is rung twice.")
    mixture = {"mixture": "artifacts/mixture", "weights": {"corpus": 1.0, "general": 1.0}}
    settings = shrink(config, pretrain={"epochs": 30, "learning_rate": 0.01, **mixture})
    out = artifacts.fresh("pretrain")
    with started("pretrain", {}) as run:
        metrics = pretrain(
            teachable,
            split,
            out,
            settings.pretrain,
            settings.training,
            settings.compute,
            settings.base,
            run,
            Checkpoints(),
        )
    assert metrics["loss"] < 4.0 and 0.5 < metrics["packing_efficiency"] <= 1.0
    assert metrics["truncated"] == 0
    assert adapters.parent(out) is None
    assert (out / "model.safetensors").exists()


def test_sft_of_all_weights_writes_a_whole_model(teachable: Path, split: Path, curated: Path, config: Config) -> None:
    changes = {"tuning": FULL, "epochs": 40, "learning_rate": 0.003, "rehearsal_weight": 0.0, "adapter_scale": 0.9}
    settings = shrink(config, sft=changes)
    out = artifacts.fresh("sft")
    with started("sft", {}) as run:
        rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
        metrics = sft(teachable, curated, split, out, *rest)
    assert metrics["validation_loss"] < 2.0  # initially above 6
    assert adapters.parent(out) is None and (out / "model.safetensors").exists()


def test_all_weights_rehearse_against_a_copy_of_the_base_model(
    teachable: Path, split: Path, curated: Path, config: Config
) -> None:
    rows = artifacts.read_rows(curated / "train.jsonl")
    artifacts.write_rows(curated / "train.jsonl", [*rows, {**rows[0], "kind": "rehearsal"}])
    changed = {}
    for weight in (0.0, 30.0):
        settings = shrink(config, sft={"tuning": FULL, "rehearsal_weight": weight, "epochs": 5, "learning_rate": 1e-3})
        out = artifacts.fresh("sft")
        with started("sft", {}) as run:
            rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
            assert sft(teachable, curated, split, out, *rest)["rows"] == len(rows) + 1
        before, after = (load_file(place / "model.safetensors") for place in (teachable, out))
        changed[weight] = sum(float((before[name] - after[name]).square().sum()) for name in before)
    assert changed[30.0] != changed[0.0]


def test_pretrain_of_all_weights_writes_a_whole_model(teachable: Path, split: Path, config: Config) -> None:
    mixture = {"mixture": str(artifacts.fresh("mixture")), "weights": {"corpus": 1.0}}
    settings = shrink(config, pretrain={"epochs": 20, "learning_rate": 0.003, "tuning": FULL, **mixture})
    out = artifacts.fresh("pretrain")
    with started("pretrain", {}) as run:
        rest = (settings.pretrain, settings.training, settings.compute, settings.base, run, Checkpoints())
        assert pretrain(teachable, split, out, *rest)["loss"] < 4.0
    assert (out / "model.safetensors").exists()


def test_pretrain_stops_early_on_the_held_out_documents(teachable: Path, split: Path, config: Config) -> None:
    other = [{"id": "d2", "title": "Tides", "text": "Herons wait for the ebb.", "source": "b.txt", "language": "en"}]
    write_table(split / "validation.parquet", other)
    changes = {"mixture": str(artifacts.fresh("mixture")), "epochs": 40, "learning_rate": 0.02, "tuning": SMALL}
    settings = shrink(config, pretrain=changes, training={"patience": 1})
    with started("pretrain", {}) as run:
        rest = (settings.pretrain, settings.training, settings.compute, settings.base, run, Checkpoints())
        metrics = pretrain(teachable, split, artifacts.fresh("pretrain"), *rest)
    curve = [(each.step, each.value) for each in run.store.get_metric_history(run.id, "train/validation_loss")]
    best = min(curve, key=lambda each: each[1])
    assert (metrics["best_step"], metrics["best_validation_loss"]) == best
    assert metrics["steps"] == curve[-1][0] < 40 and curve[-2] == best
