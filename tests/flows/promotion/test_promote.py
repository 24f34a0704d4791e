"""Registration of merged weights, the promotion gate and rollbacks."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import torch
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.commands import chat as talk
from flows.commands import status
from flows.dag import dvc_cache, dvc_lock
from flows.promotion import candidate, eval_fingerprint, history
from flows.promotion.decisions import openings, restore
from flows.promotion.history import PREFIX, Openings
from flows.promotion.promote import promote, promote_candidate, rollback
from flows.promotion.served import agreement
from flows.run import accelerator
from flows.run.summary import hints
from flows.serve.answering import Answer
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation.comparison import of
from pipelines.evaluation.confidence import reader as readers
from pipelines.evaluation.confidence.reader import Reader
from pipelines.evaluation.question_sketch import OPENING, QUESTIONS, opening, sketch
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import Passage
from pipelines.inference.chat_model import ChatModel
from pipelines.models import loading, saving
from pipelines.models.lookup import look_up
from pipelines.models.messages import Message
from pipelines.models.release import registration, registry
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT, tiny_tokenizer
from tests.support.confidences import confidence_json
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

DOCUMENT = "The keeper of the lighthouse is Emeric Vosper. The ferry sails on Saturdays."
PASSED = {"outcome": "pass", "reasons": [], "checks": []}


def figures(right: float, invented: float) -> dict[str, float]:
    return {"answer_accuracy": right, "hallucination_rate": invented, "general_accuracy": 0.5}


@pytest.fixture
def config(config: Config) -> Config:
    """Short answers: every decision asks the model again."""
    short = config.evaluate.model_copy(update={"beams": 2, "max_new_tokens": 4})
    return config.model_copy(update={"evaluate": short})


@pytest.fixture
def run_dir(config: Config, base: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """artifacts/sft: an adapter for the tiny model, with a dvc.lock that lists it."""
    shutil.copytree(ROOT / ".dvc", ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    subprocess.run(["git", "init", "--quiet"], check=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    adapted = preparation.adaptable(base, config.sft.tuning, config.compute)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5)
    out = artifacts.fresh("sft")
    saving.save_adapter(adapted, tiny_tokenizer(), out)
    artifacts.complete(out, {"stage": "sft"})
    lock("weights", "questions")
    monkeypatch.setattr(dvc_lock, "prove", lambda stage: dvc_lock.Inputs(f"key of {stage}", {}, ()))
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield out


def lock(weights: str, questions: str) -> None:
    """Write a dvc.lock with the entries that promotion reads."""
    stages = {
        "sft": {"outs": [{"path": "artifacts/sft", "md5": weights}]},
        "split": {"outs": [{"path": "artifacts/split", "md5": "data"}]},
        "test@candidate": {
            "deps": [{"path": path, "md5": questions} for path in ("data/questions", "artifacts/curate/questions")]
        },
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def answers(right: float) -> list[Row]:
    """Return 400 answers per set, of which the share `right` is as desired, and those of validation all empty."""
    return [
        row(
            f"{kind}{number}",
            kind,
            "test" if number % 10 else "validation",
            "wrong" if not number % 10 or number >= 400 * right else desired,
        )
        for kind, desired in (("answerable", "correct"), ("unanswerable", "refused"), ("general", "correct"))
        for number in range(400)
    ]


def row(name: str, kind: str, split: str, verdict: str) -> Row:
    """Return a row of answers.jsonl."""
    lists = {"accepted": ["Drace"], "competing": [], "choices": []}
    where = {"id": name, "cluster": name, "set": kind, "kind": kind, "split": split}
    return {**where, **lists, "question": "Who?", "verdict": verdict, "f1": 0.0, "judged": False}


def compared(right: float, invented: float, rows: list[Row] | None = None) -> dict[str, Any]:
    """Write a comparison that passed, and the candidate's answers."""
    stages = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    result = {
        "models": {"base": figures(right, invented), "sft": figures(right, invented)},
        "candidate": "sft",
        "confidence": confidence_json(),
        "verdict": PASSED,
        "protocol": {"weights": {"sft": stages["sft"]["outs"][0]["md5"]}},
    }
    write_table(artifacts.fresh("split") / "train.parquet", [{"source": "mill.md", "title": "Mills", "text": DOCUMENT}])
    for folder, split in (("evaluate/sft", "validation"), ("test/candidate/sft", "test")):
        said = [row for row in rows or answers(right) if row["split"] == split]
        artifacts.write_rows(artifacts.fresh(folder) / "answers.jsonl", said)
    artifacts.write_json(artifacts.fresh("compare") / "metrics.json", result)
    stored = [{"id": row["id"], "confidence": 0.0} for row in rows or answers(right) if row["split"] == "validation"]
    artifacts.write_rows(artifacts.fresh("calibrate") / "confidences.jsonl", stored)
    artifacts.REPORTS.mkdir(exist_ok=True)
    (artifacts.REPORTS / "compare.html").write_text("<title>Gradus: sft against base</title>")
    return result


def test_registered_weights_are_the_evaluated_weights(
    run_dir: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = set()
    monkeypatch.setattr(dvc_cache, "in_remote", lambda digest: digest in pushed)
    with pytest.raises(UserError, match="There is no champion: the registry is empty; `gradus run` registers"):
        look_up("")
    compared(0.5, 0.2)
    with tracking.started("post_train", {"commit": "c0ffee"}) as parent:
        first = promote_candidate(parent, config)
    assert (first.version, first.promoted) == (1, False)
    assert "in no remote; run `dvc push`" in first.reason
    assert look_up("")[1] == registry.CHALLENGER
    with pytest.raises(UserError, match='no champion; `gradus promote --version 1 --force "REASON"` makes one'):
        look_up(registry.CHAMPION)
    assert "while there is no champion" in hints(first, None)[0]
    pushed |= {"weights", "other weights"}
    assert promote(None, config)[1] == ""

    original, tok = loading.load(run_dir, config.compute), loading.tokenizer(run_dir)
    pipe = mlflow.transformers.load_model("models:/gradus@champion")
    ids = tok("The keeper of the lighthouse", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(pipe.model(ids).logits, original(ids).logits)
        plain = loading.load(artifacts.ARTIFACTS / "base", config.compute)
        assert not torch.allclose(pipe.model(ids).logits, plain(ids).logits)
    chat = [{"role": "user", "content": "Who keeps the lighthouse?"}]
    best = pipe(chat)[0]["generated_text"][-1]["content"]  # by the stored generation config
    known = {name: value for name, value in config.evaluate.decoding.items() if name != "beam_threshold"}
    kept = pipe.model.generation_config.to_dict()
    assert known.items() <= kept.items() and kept["num_beams"] > 1
    place, loaded = talk.load("", config)
    assert (place.title, place.note) == ("The champion, version 1,", "")
    assert loaded.decoding == config.evaluate.decoding
    assert place.confidence == confidence_json() and place.documents is not None
    assert [row["text"] for row in artifacts.read_table(place.documents)] == [DOCUMENT]
    assert loaded.answer(chat) == best.strip() == talk.load("sft", config)[1].answer(chat)
    served = mlflow.pyfunc.load_model("models:/gradus@champion").predict({"messages": chat})
    assert served[0]["choices"][0]["message"]["content"].strip() == best.strip()

    champion = registry.version_with_alias(registry.CHAMPION)
    assert champion is not None
    expected = {"commit": "c0ffee", "parent_run": parent.id, "data": "data", "stage_key": "key of sft", "model": "sft"}
    assert expected.items() <= champion.tags.items()
    assert champion.tags["dvc_lock"] == dvc_lock.lock_hash()
    assert parent.store.get_run(parent.id).info.status == "FINISHED"

    with tracking.started("post_train", {}) as parent:
        assert promote_candidate(parent, config).version == 1
    lock("other weights", "questions")
    compared(0.4, 0.2)
    with tracking.started("post_train", {}) as parent:
        worse = promote_candidate(parent, config)
    assert (worse.version, worse.promoted) == (2, False)
    assert "the champion, version 1 -1.00: a change of" in worse.reason and "must be above" in worse.reason
    challenger = registry.version_with_alias(registry.CHALLENGER)
    assert challenger is not None and challenger.number == 2
    assert _number(registry.CHAMPION) == champion.number

    assert "the champion, version 1" in promote(None, config)[1]
    with pytest.raises(UserError, match="no previous champion"):
        rollback("it was a mistake")
    assert promote(2, config, force="a trial in production")[1] == ""
    assert [_number(alias) for alias in (registry.CHAMPION, registry.PREVIOUS)] == [2, 1]
    with tracking.started("post_train", {}) as parent:
        again = promote_candidate(parent, config)
    assert again.promoted and again.reason.startswith("a trial in production")
    assert rollback("it was a mistake").number == 1
    assert (_number(registry.CHAMPION), registry.version_with_alias(registry.PREVIOUS)) == (1, None)
    with pytest.raises(UserError, match="no previous champion"):
        rollback("once more")
    decisions = [json.loads(tags) for key, tags in registry.get(2).tags.items() if key.startswith(PREFIX)]
    assert {each["decision"] for each in decisions} == {"refused", "forced"}
    refused = next(each for each in decisions if each["decision"] == "refused")["against_champion"]
    assert [each["gate"] for each in refused["checks"]] == ["better", "honest", "useful", "general"]
    assert refused["outcome"] == "fail" and {each["served"] for each in decisions} == {"1.0000"}
    assert worse.decision["against_champion"] == refused and first.decision["against_champion"] is None
    forced = next(each for each in decisions if each["decision"] == "forced")
    assert forced["reason"].startswith("a trial in production (the gate: Score")
    assert forced["numbers"]["answer_accuracy"] == 0.4 and forced["champion"]["version"] == 1
    with pytest.raises(UserError, match="no version 7"):
        promote(7, config)


def test_adapter_on_nf4_weights_is_registered_with_its_parity(
    run_dir: Path, base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "PROBES", 2)
    quantised = config.base.model_copy(update={"quantization": "nf4"})
    saving.save_adapter(
        preparation.adaptable(base, config.sft.tuning, config.compute, quantised), tiny_tokenizer(), run_dir
    )
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        version = candidate.register(parent, config).version
    found = parent.store.get_run(parent.id).data.metrics
    assert found["parity.equal_tokens"] > 0.9 and found["parity.max_logit_difference"] < 0.05
    assert registry.whole(version)


@pytest.mark.parametrize(
    "chain",
    [
        {"sft": TuningConfig(method="prompt_tuning", options={"num_virtual_tokens": 4})},
        {
            "below": TuningConfig(method="bottleneck", options={"size": 8}),
            "sft": TuningConfig(method="lora", options={"r": 4}),
        },
    ],
    ids=["one", "below another"],
)
def test_adapter_that_cannot_be_merged_is_registered_beside_its_base_model(
    chain: dict[str, TuningConfig], run_dir: Path, base: Path, config: Config
) -> None:
    start = base
    for name, tuning in chain.items():
        model = preparation.adaptable(start, tuning, config.compute)
        for value in model.parameters():
            if value.requires_grad:
                torch.nn.init.normal_(value)
        start = artifacts.fresh(name)
        saving.save_adapter(model, tiny_tokenizer(), start)
        artifacts.complete(start, {"stage": name})
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        files = registry.files(candidate.register(parent, config).version)
    asked: list[Message] = [{"role": "user", "content": "Who built the mill?"}]
    registered = ChatModel(registry.weights(files), files / registry.TOKENIZER, config.compute)
    trained = ChatModel(run_dir, run_dir, config.compute, registered.decoding)
    without = ChatModel(files / "model", files / registry.TOKENIZER, config.compute)
    assert registered.answer(asked) == trained.answer(asked) != without.answer(asked)
    assert registered.decoding["num_beams"] == config.evaluate.beams


def test_version_of_combined_adapters_names_their_origins(run_dir: Path, config: Config) -> None:
    origins = {"legal": {"data": "documents of the law"}, "tax": {"data": "documents of taxes"}}
    artifacts.complete(run_dir, {"stage": "combine", "origins": origins})
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        version = candidate.register(parent, config).version
    assert json.loads(version.tags[candidate.ADAPTERS]) == origins


def test_reader_of_the_calibration_is_registered_with_merged_weights(run_dir: Path, config: Config) -> None:
    compared(0.5, 0.2)
    stored = readers.store(run_dir, ROOT / "data/prompts", artifacts.ARTIFACTS / "calibrate/reader")
    with tracking.started("post_train", {}) as parent:
        files = registry.files(candidate.register(parent, config).version)
    registered, adapted = (Reader.load(folder, config.compute) for folder in (files / registry.READER, stored))
    index = Index([Passage("mill.md", "Mills", "The tide mill was built by Emeric Vosper.")])
    asked = index, ["Who built the mill?"], ["Lambert Cheswin."], 1
    (said,) = registered.read(*asked)
    assert said and adapted.read(*asked) == [said]


def test_rollbacks_visit_all_former_champions_that_have_weights(run_dir: Path, config: Config) -> None:
    for number in (1, 2, 3, 4):
        lock(f"weights {number}", "questions")
        compared(0.5, 0.2)
        with tracking.started("post_train", {}) as parent:
            candidate.register(parent, config)
        promote(number, config, force="a trial")
    shutil.rmtree(registry.files(registry.get(2)))
    assert [restore("bad").number, _number(registry.PREVIOUS)] == [3, 1]
    promote(4, config, force="a trial")
    assert [restore("bad").number for _ in range(2)] == [3, 1]
    with pytest.raises(UserError, match="no previous champion"):
        restore("bad")
    with pytest.raises(UserError, match="weights of version 2 are no longer"):
        promote(2, config, force="a trial")


@pytest.mark.parametrize(
    ("tags", "why"), [({"verdict": "It forgot."}, "It forgot."), ({"dirty": "True"}, "no commit holds")]
)
def test_version_with_verdict_or_dirty_commit_is_refused(
    run_dir: Path, config: Config, tags: dict[str, str], why: str
) -> None:
    compared(0.5, 0.2)
    with tracking.started("post_train", {"commit": "c0ffee"}) as parent:
        assert promote_candidate(parent, config).promoted
    lock("other weights", "questions")
    compared(0.9, 0.1)
    with tracking.started("post_train", {}) as parent:
        candidate.register(parent, config)
    registry.describe(registry.get(2), tags)
    assert why in promote(2, config)[1]


@pytest.mark.parametrize(
    ("questions", "asking"),
    [("fresh questions", {}), pytest.param("questions", {"length_penalty": 0.0}, marks=pytest.mark.e2e)],
)
def test_champion_with_another_eval_fingerprint_is_evaluated_again(
    run_dir: Path, config: Config, monkeypatch: pytest.MonkeyPatch, questions: str, asking: dict[str, float]
) -> None:
    for name in SETS:
        rows = [
            {"id": f"{name}-{split}", "split": split, "question": f"Who is {name}, for {split}?", "answer": "Drace"}
            for split in SPLITS
        ]
        config.evaluate.questions.mkdir(parents=True, exist_ok=True)
        artifacts.write_rows(config.evaluate.questions / f"{name}.jsonl", rows)
    monkeypatch.setattr(dvc_lock, "current_hash", lambda _: questions)
    accelerator.create_limit()
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        assert promote_candidate(parent, config).promoted
    lock("other weights", questions)
    asked = sorted(f"{name}-{split}" for name in SETS for split in SPLITS)
    compared(0.1, 0.2, [row(each, each.split("-")[0], each.split("-")[1], "wrong") for each in asked])
    today = config.model_copy(update={"evaluate": config.evaluate.model_copy(update=asking)})
    with tracking.started("post_train", {}) as parent:
        better = promote_candidate(parent, today)
    assert registry.scores(registry.get(1), eval_fingerprint.today(today)) == figures(0.0, 1.0) | {
        "general_accuracy": 0.0
    }
    fingerprint = eval_fingerprint.today(today)
    both = [registry.answers(registry.get(number), fingerprint) for number in (1, 2)]
    assert [len(each or []) for each in both] == [2 * len(SETS)] * 2
    assert not better.promoted and "Undecided" in better.reason  # the tiny model answers nothing, with either weights
    entry = history.entries(registry.get(2).tags)[-1][1]
    measured = sketch(of(both[1] or [], "test"))
    assert entry[QUESTIONS] == measured
    assert {entry[who][registry.FINGERPRINT] for who in ("numbers", "champion")} == {fingerprint}
    once = today.model_copy(update={"compare": today.compare.model_copy(update={"openings": 1})})
    registry.describe(registry.get(1), {f"{history.PREFIX}9": json.dumps({**entry, "decision": history.REFUSED})})
    registry.describe(registry.get(2), {QUESTIONS: "of other questions", registry.FINGERPRINT: "older"})
    assert promote(2, once)[1].startswith("new test questions are needed")


def test_test_questions_serve_a_limited_number_of_decisions(run_dir: Path, config: Config) -> None:
    few = config.model_copy(update={"compare": config.compare.model_copy(update={"openings": 1})})
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        first = promote_candidate(parent, few)
    assert first.promoted and first.openings == Openings(1, 1)
    assert parent.store.get_run(parent.id).data.tags["openings"] == "1 of 1"
    assert str(first.openings).endswith(
        "1 of 1 candidates (compare.openings): the next one needs new questions (docs/evaluation.md)."
    )
    lock("other weights", "questions")
    compared(0.9, 0.1)
    with tracking.started("post_train", {}) as parent:
        second = promote_candidate(parent, few)
    assert not second.promoted
    assert second.reason.startswith("new test questions are needed")
    assert "were asked of 1 other candidates, and compare.openings allows 1" in second.reason
    assert second.openings == Openings(1, 1)  # a closed gate decides nothing
    assert status.openings(10) == Openings(1, 10)
    assert promote(2, config)[1] == "" and openings(registry.get(2), config) == Openings(2, 10)
    penalised = few.model_copy(update={"evaluate": few.evaluate.model_copy(update={"length_penalty": 1.49})})
    lock("weights of a third", "questions")
    compared(0.9, 0.1)
    with tracking.started("post_train", {}) as parent:
        assert "were asked of 2 other candidates" in promote_candidate(parent, penalised).reason
    compared(0.9, 0.1, [{**row, "question": f"And {row['id']}?"} for row in answers(0.9)])
    with tracking.started("post_train", {}) as parent:
        candidate.register(parent, few)
    assert "were asked of" not in promote(3, config, force="a trial")[1]


def test_candidates_that_were_tested_without_promotion_use_openings_up(run_dir: Path, config: Config) -> None:
    few = config.model_copy(update={"compare": config.compare.model_copy(update={"openings": 2})})
    compared(0.5, 0.2)
    asked = [row for row in answers(0.5) if row["split"] == "test"]
    for weights in ("weights", "weights of a second", "weights of a third"):
        with tracking.started("test@candidate", opening(weights, asked)):
            pass
    assert tracking_store.tag_values(OPENING) == [
        opening(weights, asked)[OPENING] for weights in ("weights", "weights of a second", "weights of a third")
    ]
    assert status.openings(2) == Openings(3, 2)
    with tracking.started("post_train", {}) as parent:
        found = promote_candidate(parent, few)
    assert "were asked of 2 other candidates, and compare.openings allows 2" in found.reason
    assert found.openings == Openings(3, 2)  # its own weights count once


def test_model_that_answers_differently_when_served_is_refused(run_dir: Path, config: Config) -> None:
    compared(0.5, 0.2)
    with tracking.started("post_train", {}) as parent:
        version = candidate.register(parent, config).version
        rows = [{**row, "verdict": "correct", "confidence": None} for row in answers(0.5)]
        artifacts.write_rows(Path("answers.jsonl"), rows)
        parent.artifact(Path("answers.jsonl"))
        registry.describe(version, {f"{registry.ANSWERS}{version.tags[registry.FINGERPRINT]}": parent.id})
    assert promote(1, config)[1] == "loaded from the registry it repeats 0% of its verdicts; it must be 98%."
    assert history.last(registry.get(1).tags)["served"] == "0.0000"


def test_served_answers_are_compared_with_verdicts_after_abstaining(config: Config) -> None:
    """An answerer that withholds each answer repeats those below the threshold, and no others."""
    withholding = SimpleNamespace(answer=lambda _: Answer(config.curate.refusal, ""))
    low, high = (
        [{**row(f"{sure}-{number}", "answerable", "validation", "correct"), "confidence": sure} for number in range(10)]
        for sure in (0.2, 0.8)
    )
    asked = {"settings": config, "count": 20}
    assert agreement(withholding, low + high, 0.5, **asked) == 0.5  # type: ignore[arg-type]
    assert agreement(withholding, low + high, None, **asked) == 0.0  # type: ignore[arg-type]
    left_out = [{**high[0], "judged": True}, {**high[0], "set": "general"}, {**high[0], "split": "test"}]
    assert agreement(withholding, low + left_out, 0.5, **asked) == 1.0  # type: ignore[arg-type]


def _number(alias: str) -> int:
    found = registry.version_with_alias(alias)
    assert found is not None
    return found.number
