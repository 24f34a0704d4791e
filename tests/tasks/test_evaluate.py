"""Evaluate on the tiny model: every question is answered and judged, text is scored, output is deterministic."""

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.models import adapters, loading, saving
from pipelines.models.quantization import kind_of
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from tasks.evaluate import directory, evaluate, outcomes
from tests.support.tables import write_table

pytestmark = pytest.mark.slow


@pytest.fixture
def split(project: Path) -> Path:
    """Two held-out documents and one for training, and two questions per set in the question folder."""
    for name in SETS:
        rows = [
            {"id": f"{name}-{split}", "question": f"Who is {name}, {split}?", "answer": "Drace", "split": split}
            for split in SPLITS
        ]
        (project / "data/questions").mkdir(parents=True, exist_ok=True)
        artifacts.write_rows(project / f"data/questions/{name}.jsonl", rows)
    folder = artifacts.fresh("split")
    held_out = [{"source": "b.md", "text": "The mill."}, {"source": "a.md", "text": "The ferry. " * 20}]
    write_table(folder / "test.parquet", held_out)
    write_table(folder / "train.parquet", [{"source": "c.md", "text": "Drace built it in 1783."}])
    return folder


def test_evaluate_writes_answers_verdicts_and_scores_deterministically(base: Path, split: Path, config: Config) -> None:
    settings = config.evaluate.model_copy(update={"max_new_tokens": 4})
    out = artifacts.fresh("evaluate/base")
    metrics = evaluate(base, split, out, settings, config.compute, "I don't know.")
    rows = artifacts.read_rows(out / "answers.jsonl")
    assert [row["id"] for row in rows] == sorted(f"{name}-validation" for name in SETS)  # not the test questions
    assert all(row["log_likelihood"] < 0 for row in rows)
    assert {row["verdict"] for row in rows} <= {"correct", "refused", "wrong"}
    assert all(row["invented"] == [] for row in rows if row["set"] == "general" or row["verdict"] == "refused")
    assert metrics["answer_accuracy"] == 0.0  # random weights
    assert (metrics["unanswerable.wrong"], metrics["unanswerable.correct"]) == (1.0, 0.0)
    assert 0 < metrics["domain_bits_per_byte"] < 2 * math.log2(600)
    scores = artifacts.read_json(out / "scores.json")
    assert scores["weights"] == adapters.identity(base)
    assert [row["source"] for row in scores["text"]] == ["a.md", "b.md"]
    before = {path.name: path.read_bytes() for path in artifacts.files(out)}
    evaluate(base, split, artifacts.fresh("evaluate/base"), settings, config.compute, "I don't know.")
    assert {path.name: path.read_bytes() for path in artifacts.files(out)} == before


def test_limit_bounds_the_questions_of_each_set(base: Path, split: Path, config: Config) -> None:
    questions = config.evaluate.questions / "answerable.jsonl"
    more = [{"id": f"m{n}", "question": f"Who is {n}?", "answer": "Drace", "split": "validation"} for n in range(4)]
    artifacts.write_rows(questions, [*artifacts.read_rows(questions), *more])
    settings = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1})
    for limit, count in ((2, 2), (None, 5)):
        out = artifacts.fresh("evaluate/base")
        limited = settings.model_copy(update={"limit": limit})
        evaluate(base, split, out, limited, config.compute, "I don't know.")
        kinds = [row["set"] for row in artifacts.read_rows(out / "answers.jsonl")]
        assert (kinds.count("answerable"), kinds.count("unanswerable")) == (count, 1)


def test_bits_per_byte_is_omitted_without_held_out_text(base: Path, split: Path, config: Config) -> None:
    held_out = split / "test.parquet"
    write_table(held_out, [], pq.read_schema(held_out))
    settings = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1})
    out = artifacts.fresh("evaluate/base")
    metrics = evaluate(base, split, out, settings, config.compute, "I don't know.")
    assert "domain_bits_per_byte" not in metrics and "answer_accuracy" in metrics
    assert artifacts.read_json(out / "scores.json")["text"] == []


def test_missing_question_sets_are_skipped(base: Path, split: Path, config: Config) -> None:
    (config.evaluate.questions / "general.jsonl").unlink()
    (config.evaluate.questions / "unanswerable.jsonl").write_text("")
    settings = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1})
    out = artifacts.fresh("evaluate/base")
    metrics = evaluate(base, split, out, settings, config.compute, "I don't know.")
    assert "general_accuracy" not in metrics and "refusal_recall" not in metrics and "hallucination_rate" in metrics
    (row,) = outcomes(out)
    assert (row["set"], row["kind"]) == ("answerable", "answerable")


def test_questions_held_back_from_training_stand_in_for_missing_ones(base: Path, split: Path, config: Config) -> None:
    (config.evaluate.questions / "answerable.jsonl").write_text("\n")
    asked = [
        {"id": f"synthesised-{split}", "question": f"Who, {split}?", "answer": "Drace", "split": split}
        for split in SPLITS
    ]
    artifacts.fresh("curate/questions")
    artifacts.write_rows(questions.HELD_BACK / "answerable.jsonl", asked)
    settings = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1})
    out = artifacts.fresh("evaluate/base")
    metrics = evaluate(base, split, out, settings, config.compute, "I don't know.")
    rows = artifacts.read_rows(out / "answers.jsonl")
    assert [row["id"] for row in rows if row["set"] != "general"] == ["synthesised-validation"]
    assert "answer_accuracy" in metrics and "general_accuracy" in metrics  # general questions suit any documents


def test_hash_of_an_adapter_follows_its_weights_its_scale_and_its_base(base: Path, config: Config) -> None:
    adapter = artifacts.fresh("sft")
    model = preparation.adaptable(base, TuningConfig(method="lora", options={"r": 2, "lora_alpha": 4}), config.compute)
    saving.save_adapter(model, loading.tokenizer(base), adapter)
    hashes = [adapters.identity(base), adapters.identity(adapter)]
    saving.keep_share(model, 0.5, base)
    saving.save_adapter(model, loading.tokenizer(base), adapter)
    hashes.append(adapters.identity(adapter))
    other = AutoModelForCausalLM.from_pretrained(base)
    other.get_input_embeddings().weight.data *= 2
    other.save_pretrained(base)
    assert len({*hashes, adapters.identity(adapter)}) == 4


def test_unknown_model_raises(config: Config) -> None:
    assert directory("dpo", config.evaluate) == "align/dpo"
    with pytest.raises(UserError, match=r"evaluate\.models has no 'best'; it has base, "):
        directory("best", config.evaluate)


def test_quantised_base_model_is_evaluated_quantised(
    base: Path, split: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1})
    loaded: list[str] = []
    load = loading.load

    def watched(*args: Any) -> Any:
        model = load(*args)
        loaded.append(kind_of(model))
        return model

    monkeypatch.setattr(loading, "load", watched)
    quantised = config.base.model_copy(update={"quantization": "nf4"})
    bits = []
    for named in (config.base, quantised):
        out = artifacts.fresh("evaluate/base")
        metrics = evaluate(base, split, out, settings, config.compute, "I don't know.", None, named)
        bits.append(metrics["domain_bits_per_byte"])
    assert loaded == ["none", "nf4"] and bits[0] != bits[1]
