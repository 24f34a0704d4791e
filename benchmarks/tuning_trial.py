"""One trial of the comparison of methods of fine-tuning: a training with `sft`, and validation questions.

A trial runs in a process of its own, whose peak memory is that of the training.
"""

import json
import resource
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts, config
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation import schema
from pipelines.curation.schema import RowKind, TrainingRow, read_training_rows
from pipelines.evaluation import metrics, questions
from pipelines.evaluation.asking import decode, judged
from pipelines.evaluation.harness import CHOICES_PER_BATCH
from pipelines.evaluation.questions import Question
from pipelines.evaluation.statistics import bootstrap
from pipelines.inference.likelihood import loglikelihoods
from pipelines.models import adapters, chat, devices, loading
from pipelines.models.memory import GIB
from pipelines.models.tuning import preparation
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import SFTConfig
from pipelines.training.examples import IGNORED, Example, encode_chat
from pipelines.training.tuning.data import MASK
from tasks.sft import planned, sft
from tests.support.recorder import Recorder

REPORTED = ("answer_accuracy", "hallucination_rate", "over_refusal")
"""Metrics of the questions on the documents, as in an evaluation."""


@dataclass(frozen=True)
class Trial:
    """One training, or none to measure the base model."""

    project: Path
    """Folder with params.yaml, artifacts/base and artifacts/curate."""
    tokens: int
    """Labelled tokens to train on."""
    questions: int
    """Maximum number of questions of each set."""
    tuning: Row | None = None
    """Method and options as in params.yaml; None: the base model."""
    learning_rate: float = 0.0
    seed: int = 0
    known: tuple[str, ...] = ()
    """General questions that the base model answers."""


class Curves(Recorder):
    """The curves of a training whose files are not logged."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Do nothing."""


def measure(trial: Trial) -> Row:
    """Train and ask; return the figures.

    Raises:
        UserError: a stage has not run, or the method does not fit the model or diverges.
    """
    with chdir(trial.project), tempfile.TemporaryDirectory() as folder:
        base, settings = artifacts.read("base"), config.load()
        asked, model = sampled(settings, trial.questions), base
        figures: Row = {}
        if trial.tuning is not None:
            settings = changed(settings, trial)
            model, figures = trained(base, settings, trial, Path(folder))
        devices.prepare(settings.compute)
        rows = answered(model, settings, asked)
        return {**figures, **scores(rows, trial.known), **machine(settings)}


def sampled(settings: Config, most: int) -> list[Question]:
    """Return the validation questions, at most `most` of each set, equal in all trials of a project."""
    every = questions.of_split(questions.VALIDATION, settings.evaluate.questions)
    sets = [[each for each in every if each.set == name] for name in questions.SETS]
    return [each for its in sets for each in questions.sample(its, most, settings.compute.seed)]


def inputs(project: Path, tokens: int, most: int) -> str:
    """Return the hash of what all trials share: weights, rows, questions, budget and parameters.

    Raises:
        UserError: `curate` or `base` has not run.
    """
    with chdir(project):
        settings = config.load()
        shared = {name: getattr(settings, name).model_dump(mode="json") for name in ("compute", "base", "training")}
        shared["sft"] = settings.sft.model_dump(mode="json", exclude={"tuning", "learning_rate", "epochs"})
        shared["evaluate"] = settings.evaluate.model_dump(mode="json")
        rows = (artifacts.read("curate") / "train.jsonl").read_bytes()
        asked = [repr(each) for each in sampled(settings, most)]
        parts = [adapters.identity(artifacts.read("base")), sha256(rows).hexdigest(), tokens, shared, asked]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def changed(settings: Config, trial: Trial) -> Config:
    """Return the parameters of a trial: its method, seed and rate, and the whole update (`adapter_scale` 1)."""
    values = settings.model_dump(mode="json")
    values["compute"] |= {"seed": trial.seed}
    values["training"] |= {"patience": None, "launch": None, "criterion": "loss"}
    values["sft"] |= {"tuning": trial.tuning, "learning_rate": trial.learning_rate, "adapter_scale": 1.0}
    values["sft"] |= {"lm_weight": 0.0, "continue_from": "", "validation_questions": 0}
    return Config.model_validate(values)


def trained(base: Path, settings: Config, trial: Trial, folder: Path) -> tuple[Path, Row]:
    """Train in `folder`; return the trained model and the figures of the training."""
    curated, out = folder / "curate", folder / "sft"
    curated.mkdir()
    out.mkdir()
    labelled, steps = write_rows(curated, artifacts.read("curate"), base, settings.sft, trial)
    plain = settings.sft.model_copy(update={"epochs": steps, "refusal_weight": 1.0, "keyword_query_weight": 1.0})
    curves: Any = Curves()
    start = time.perf_counter()
    common = settings.training, settings.compute, settings.base, curves, Checkpoints()
    measured = sft(base, curated, folder, out, plain, *common)
    seconds, peak = time.perf_counter() - start, peak_gib(devices.device(settings.compute))
    speeds = curves.of("tokens_per_second")
    trainable, whole = parameters(base, out, settings)
    figures = {
        "labelled_tokens": labelled,
        "steps": steps,
        "loss": measured["loss"],
        "trainable": trainable,
        "trainable_share": trainable / whole,
        "peak_gib": peak,
        "tokens_per_second": statistics.median(speeds[1:] or speeds),
        "seconds": seconds,
    }
    return out, figures


def write_rows(folder: Path, curated: Path, base: Path, options: SFTConfig, trial: Trial) -> tuple[int, int]:
    """Write the rows of every step as a variant of its own, so that each of as many epochs is one planned step.

    Returns the number of labelled tokens, and of steps. Raises UserError as `cut_plan`.
    """
    tok = loading.tokenizer(base)
    rows = read_training_rows(curated / "train.jsonl")
    encoded = [(row, encode_chat(tok, row.messages, row.kind == RowKind.REHEARSAL)) for row in rows]
    kept = [pair for pair in encoded if len(pair[1].ids) <= options.max_tokens]
    plan, labelled = cut_plan(kept, options, trial.tokens, trial.seed)
    steps = [replace(kept[item][0], variant=step) for step, items in enumerate(plan) for item in items]
    schema.write(folder / "train.jsonl", steps)
    schema.write(folder / "validation.jsonl", [])
    return labelled, len(plan)


def cut_plan(
    rows: Sequence[tuple[TrainingRow, Example]], options: SFTConfig, tokens: int, seed: int
) -> tuple[list[list[int]], int]:
    """Return the first planned steps with at least `tokens` labelled tokens, and the number of these tokens.

    Raises:
        UserError: there is no row to train on.
    """
    chats, lengths = [row for row, _ in rows], [len(each.ids) for _, each in rows]
    labelled = [sum(label != IGNORED for label in each.labels[1:]) for _, each in rows]
    epochs = 1
    while True:
        plan = planned(chats, lengths, options.model_copy(update={"epochs": epochs}), seed)
        if not plan:
            raise UserError("artifacts/curate/train.jsonl has no row to train on; raise sft.max_tokens.")
        totals = list(accumulate(sum(labelled[item] for item in step) for step in plan))
        if totals[-1] >= tokens:
            last = bisect_left(totals, tokens)
            return plan[: last + 1], totals[last]
        epochs *= 2


def peak_gib(where: torch.device) -> float:
    """Return the peak of the GPU's allocator, or of this process's resident memory."""
    if where.type == "cuda":
        return float(torch.cuda.max_memory_allocated(where)) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def parameters(base: Path, out: Path, settings: Config) -> tuple[int, int]:
    """Return the number of trainable parameters, those in the mask of a FISH mask, and of the base model's."""
    model = preparation.trainable(base, settings.sft.tuning, settings.compute, settings.base)
    whole = preparation.frozen(base, settings.compute).num_parameters()
    if (out / MASK).exists():
        return sum(int(each.sum()) for each in load_file(out / MASK).values()), whole
    return sum(value.numel() for value in model.parameters() if value.requires_grad), whole


def answered(directory: Path, settings: Config, asked: Sequence[Question]) -> list[Row]:
    """Ask the model in `directory` closed-book, decoding as evaluation does; return the judged answers."""
    model, tok = loading.load(directory, settings.compute, settings.base), loading.tokenizer(directory)
    open_ended = [each for each in asked if not each.choices]
    texts = decode(model, tok, [each.question for each in open_ended], settings.evaluate)
    answers = {each.id: text for each, text in zip(open_ended, texts, strict=True)}
    answers |= likeliest(model, tok, [each for each in asked if each.choices])
    how = settings.curate.refusal, settings.evaluate.max_extra_words
    return [judged(each, answers[each.id], *how) for each in asked]


def likeliest(model: PreTrainedModel, tok: PreTrainedTokenizerBase, asked: Sequence[Question]) -> dict[str, str]:
    """Return the choice with the highest log-likelihood by question id."""
    prompts = [chat.encode_prompt(tok, [{"role": "user", "content": each.question}]) for each in asked]
    choices = [[chat.encode_text(tok, choice) for choice in each.choices] for each in asked]
    scored = loglikelihoods(model, tok, prompts, choices, CHOICES_PER_BATCH)
    return {asked[at].id: asked[at].choices[found.index(max(found))] for at, found in scored}


def scores(rows: Sequence[Row], known: Sequence[str]) -> Row:
    """Return the metrics, and which general questions were answered correctly.

    The score is correct minus wrong answers, over all questions on the documents. `kept` is the share of the `known`
    general questions that are answered; None if the base model knows none.
    """
    units = metrics.units(rows)
    verdicts = [row["verdict"] for row in rows if row["set"] != questions.GENERAL]
    general = [row["id"] for row in rows if row["set"] == questions.GENERAL and row["verdict"] == "correct"]
    return {
        **{name: bootstrap.value(units[name]) for name in REPORTED},
        "kept": len(set(known) & set(general)) / len(known) if known else None,
        "score": (verdicts.count("correct") - verdicts.count("wrong")) / len(verdicts),
        "general_correct": general,
    }


def machine(settings: Config) -> Row:
    """Return where and when the trial ran."""
    facts, compute = environment.facts(), settings.compute
    on_gpu, precision = devices.device(compute).type == "cuda", str(devices.dtype(compute)).removeprefix("torch.")
    where = facts["gpu"] if on_gpu else f"{facts['processor']}, {compute.threads} threads"
    return {"machine": f"{where}, {precision}", "date": datetime.now(UTC).date().isoformat()}
