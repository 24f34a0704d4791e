"""Closed-book accuracy during fine-tuning: which questions are asked, how answers count, and the best weights."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.in_training import sample
from pipelines.evaluation.in_training.sample import ACCURACY, HALLUCINATION_RATE, SCORE, ValidationQuestions
from pipelines.evaluation.questions import Question
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import started
from pipelines.training.checkpoints import Checkpoints
from tasks.curate import validation_questions
from tasks.sft import sft
from tests.support.rows import REFUSAL

pytestmark = pytest.mark.slow

PAIRS = [("Who restored the mill?", "Wilmot Fanthorn"), ("Where did the bell come from?", "Garrick Bay")]


def question(number: int, name: str, text: str, *accepted: str, split: str = "validation") -> artifacts.Row:
    own = {"answer": accepted[0], "aliases": list(accepted[1:])} if accepted else {}
    return {"id": f"{name}{number}", "question": text, "split": split, **own}


@pytest.fixture
def own(project: Path) -> Path:
    """data/questions/ with forty answerable, twenty unanswerable, ten general questions, half of each for the test."""
    folder = project / "data/questions"
    folder.mkdir(parents=True)
    for name, count in {"answerable": 40, "unanswerable": 20, "general": 10}.items():
        answer = () if name == "unanswerable" else ("Orla",)
        splits = ("validation", "test")
        rows = [question(at, name, f"{name} {at}?", *answer, split=splits[at % 2]) for at in range(count)]
        artifacts.write_rows(folder / f"{name}.jsonl", rows)
    return folder


def test_sample_is_of_validation_questions_in_proportion_and_repeatable(own: Path) -> None:
    drawn = sample.draw(own, 9, seed=1)
    assert [each.set for each in drawn] == ["answerable"] * 6 + ["unanswerable"] * 3
    assert {each.split for each in drawn} == {"validation"}
    assert sample.draw(own, 9, seed=1) == drawn != sample.draw(own, 9, seed=2)
    assert sample.draw(own, 1, seed=1)[0].set == "answerable"
    assert len(sample.draw(own, 1000, seed=1)) == 30


def test_curate_samples_the_configured_questions_and_how_they_are_judged(own: Path, config: Config) -> None:
    values = config.model_dump(mode="json")
    values["sft"]["validation_questions"], values["evaluate"]["questions"] = 6, str(own)
    drawn = validation_questions(Config.model_validate(values))
    assert drawn.questions == tuple(sample.draw(own, 6, config.compute.seed))
    limits = config.evaluate.max_new_tokens, config.evaluate.max_extra_words
    assert (drawn.refusal, drawn.max_new_tokens, drawn.max_extra_words) == (config.curate.refusal, *limits)


def asked(*pairs: tuple[str, str]) -> ValidationQuestions:
    """Return answerable questions with their answers, and one that is unanswerable."""
    known = [Question(text, "answerable", "name", "validation", text, (answer,), (), ()) for text, answer in pairs]
    unknown = Question("u", "unanswerable", "unanswerable", "validation", "Who taught the heron to sing?", (), (), ())
    return ValidationQuestions((*known, unknown), REFUSAL, max_new_tokens=12, max_extra_words=25)


def test_answers_are_judged_by_the_rules_of_the_evaluation() -> None:
    questions = asked(*PAIRS, ("When was it restored?", "1921"))
    answers = ["Wilmot Fanthorn restored it.", "I don't know.", "In 1733.", "Rosalind Pell taught it."]
    assert questions.metrics(answers) == {ACCURACY: 1 / 3, HALLUCINATION_RATE: 2 / 4, SCORE: -1 / 4}


def test_sample_is_read_as_written_and_of_the_configured_size(tmp_path: Path) -> None:
    sample.write(tmp_path, 3, asked(*PAIRS))
    assert sample.read(tmp_path, 3).questions[0].accepted == ("Wilmot Fanthorn",)
    with pytest.raises(UserError, match=r"sft.validation_questions = 3, and it is 5; run `gradus run curate`"):
        sample.read(tmp_path, 5)
    with pytest.raises(UserError, match=r"sft.validation_questions = 0, and it is 5"):
        sample.read(tmp_path / "other", 5)


def test_accuracy_without_questions_is_refused_by_the_configuration(config: Config) -> None:
    values = config.model_dump(mode="json")
    values["training"]["criterion"] = "accuracy"
    with pytest.raises(ValueError, match=r"sft.validation_questions is 0, so that no accuracy is measured"):
        Config.model_validate(values)


@pytest.fixture
def inputs(teachable: Path) -> tuple[Path, Path, Path]:
    """The base model, and artifacts/curate/ and artifacts/split/ with two facts."""
    curated, split = artifacts.fresh("curate"), artifacts.fresh("split")
    messages = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS]
    rows = [{"messages": each, "kind": "answer", "variant": None} for each in messages]
    artifacts.write_rows(curated / "train.jsonl", rows)
    artifacts.write_rows(curated / "validation.jsonl", rows[:1])
    sample.write(curated, 3, asked(*PAIRS))
    return teachable, curated, split


def test_sft_logs_accuracy_at_its_validations_and_keeps_the_best_weights(
    inputs: tuple[Path, Path, Path], config: Config
) -> None:
    tuning = {"method": "lora", "options": {"r": 8, "lora_alpha": 16}}
    values = config.model_dump(mode="json")
    values["sft"] |= {"tuning": tuning, "epochs": 80, "learning_rate": 0.01, "adapter_scale": 1.0}
    base, curated, split = inputs
    weights, found = [], {}
    for questions, criterion in ((0, "loss"), (3, "loss"), (3, "accuracy")):
        values["sft"]["validation_questions"] = questions
        values["training"] |= {"criterion": criterion, "patience": 10}
        settings = Config.model_validate(values)
        out = artifacts.fresh("sft")
        with started("sft", {}) as run:
            rest = (settings.sft, settings.training, settings.compute, settings.base, run, Checkpoints())
            found = sft(base, curated, split, out, *rest)
        weights.append((out / "adapter_model.safetensors").read_bytes())
    store = tracking_store.client()
    curves = {
        name: {each.step: each.value for each in store.get_metric_history(run.id, name)}
        for name in (ACCURACY, HALLUCINATION_RATE, SCORE, "train/validation_loss")
    }
    assert all(len(curve) == 10 for curve in curves.values())
    assert curves[ACCURACY][8] < curves[ACCURACY][80] == 1.0 and curves[HALLUCINATION_RATE][8] > 0
    best = max(curves[SCORE], key=lambda step: (curves[SCORE][step], -curves["train/validation_loss"][step]))
    assert found["best_step"] == best and found["best_validation_score"] == curves[SCORE][best]
    lowest = min(curves["train/validation_loss"], key=curves["train/validation_loss"].__getitem__)
    assert (weights[1] == weights[2]) == (lowest == best)
    assert weights[0] == weights[1]  # asking changed no weight
