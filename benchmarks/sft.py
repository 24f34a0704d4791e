"""Compare fine-tuning on a CPU with TRL's SFTTrainer, with the processor's speed in plain products, and with the demo.

    python benchmarks/sft.py                        # some minutes on two idle cores
    python benchmarks/sft.py --rows 64 --epochs 2   # shorter, with fewer turns
    python benchmarks/sft.py --tiny                 # a random model of two layers, in seconds

The last line is one JSON object:

- `speedup_vs_trl`: non-padding tokens per second of `fit`, with the values of params.yaml, over those of SFTTrainer.
- `loss_ratio`: loss per answer token on held-out rows (`mean_loss`) of our model over that of TRL's, after training on
  the same rows for as many epochs, and without `sft.adapter_scale`.
- `of_plain_products`: FLOP/s of a training step over those of its matrix products alone. These are the products of the
  linear layers, their adapters and the output layer, forward and backward, one by one, at the step's size and
  precision. The step's attention scores do not count as work.
- `demo_stage_s`: median seconds of steps drawn from the plan of the demo's `sft`, times the number of its steps; null
  without artifacts/curate. Loading, validation and checkpoints are not included.

The speed of a shared machine changes within seconds, so all are measured in turn: four steps, the plain products of the
last one, then SFTTrainer until it has seen as many tokens. Figures are medians over turns, without the first. Both
trainers run their own loops, `fit` and `SFTTrainer.train()`, as coroutines of one thread (greenlet) that switch between
steps; deterministic algorithms, which only Gradus requires, are off in TRL's turns.

SFTTrainer has its defaults: batches of 8 rows in random order, float32 weights, activation checkpointing, fused AdamW,
a linear schedule without warm-up. Model, adapter, learning rate, rows and epochs are the same; rows are prompts with
completions, so that only answers are learnt. Its progress bar, logs and checkpoints are off, and so is bf16 where the
processor lacks it and would take eight times as long.

Rows are those of artifacts/curate for one epoch, or else the validation questions of the project. Refusals have the
weight of other rows, and rehearsal, which SFTTrainer lacks, is left out.
"""

import argparse
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from transformers import PreTrainedTokenizerBase

from benchmarks.base_model import base_model
from benchmarks.sft_products import PlainProducts
from benchmarks.sft_trl import Peer, trl_trainer
from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.curation.schema import RowKind, TrainingRow, read_training_rows
from pipelines.evaluation import questions
from pipelines.models import devices, loading
from pipelines.models.tuning import preparation
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints, State
from pipelines.training.examples import Example, encode_chat
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel, mean_loss
from pipelines.training.step import Job
from tasks.sft import planned
from tests.support.recorder import Recorder

ROOT = Path(__file__).parents[1]
TURN = 4  # steps
HELD_OUT = 64  # rows
DEMO_STEPS = 24


def parameters(tiny: bool) -> Config:
    """Return the parameters of the project, on the CPU."""
    values = config.load(ROOT / "params.yaml").model_dump(mode="json")
    values["compute"] |= {"device": "cpu"} | ({"threads": 1} if tiny else {})
    return Config.model_validate(values)


def rows(settings: Config, curated: Path | None, count: int) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Return `count` rows to train on, repeated if there are fewer, and the held-out rows."""
    rng = random.Random(settings.compute.seed)
    if curated is None:
        asked = [each for each in questions.load(ROOT / "data/questions") if each.split == questions.VALIDATION]
        rng.shuffle(asked)
        all_rows = [_answered(each, settings.curate.refusal) for each in asked]
        held_out, trained = all_rows[:HELD_OUT], all_rows[HELD_OUT:]
    else:
        held_out = read_training_rows(curated / "validation.jsonl")[:HELD_OUT]
        trained = [
            TrainingRow(row.messages, row.kind)
            for row in read_training_rows(curated / "train.jsonl")
            if row.kind != RowKind.REHEARSAL and row.variant in (None, 0)
        ]
        rng.shuffle(trained)
    return list(itertools.islice(itertools.cycle(trained), count)), held_out


def _answered(question: questions.Question, refusal: str) -> TrainingRow:
    answer, kind = (question.accepted[0], RowKind.ANSWER) if question.accepted else (refusal, RowKind.REFUSAL)
    messages = [{"role": "user", "content": question.question}, {"role": "assistant", "content": answer}]
    return TrainingRow(messages, kind)


@dataclass
class Clock(Checkpoints):
    """Checkpoints that are not written: the seconds of each step, with a pause `between` steps that is not counted."""

    between: Callable[[int], None] = lambda number: None
    steps: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def step(self, number: int, state: Callable[[], State], keep: Collection[int] = ()) -> None:
        """Record the time of step `number`."""
        self.steps.append(time.perf_counter() - self.began)
        self.between(number)
        super().step(number, state, keep)
        self.began = time.perf_counter()


@dataclass(frozen=True)
class Turn:
    """The measurements of one turn."""

    ours: float
    """Tokens per second, without padding."""
    theirs: float
    of_plain: float
    """Speed of the last step over that of its products alone."""
    gigaflops: float
    """Of these products, per second."""


class Turns:
    """The measurements of a training with `objective` and `plan` in turn with those of a `peer`."""

    def __init__(self, objective: LanguageModel, plan: Sequence[list[int]], plain: PlainProducts, peer: Peer) -> None:
        """Measure each time that `TURN` steps of the plan are done."""
        self.rows, self.plan, self.plain, self.peer = objective.rows, plan, plain, peer
        self.clock, self.tokens = Clock(between=self.between), 0
        self.done: list[Turn] = []

    def between(self, number: int) -> None:
        """After the last step of a turn, measure the products and the peer, unless it has finished."""
        if number % TURN or self.peer.training.dead:
            return
        items = [self.rows[item] for step in self.plan[number - TURN : number] for item in step]
        tokens = sum(len(row.ids) for row in items)
        self.tokens += tokens
        last = [self.rows[item] for item in self.plan[number - 1]]
        size = len(last) * max(len(row.ids) for row in last), sum(map(labelled, last))
        products = self.plain.seconds(*size)
        self.done.append(
            Turn(
                tokens / sum(self.clock.steps[-TURN:]),
                self.peer.advance(self.tokens),
                products / self.clock.steps[-1],
                self.plain.flops(*size) / products / 1e9,
            )
        )


def labelled(row: Example) -> int:
    """Return how many tokens of `row` are predicted."""
    return sum(label >= 0 for label in row.labels[1:])


def job(settings: Config, clock: Clock) -> Job:
    """Return the job of `sft`, without logging."""
    run: Any = Recorder()
    rate, training = settings.sft.learning_rate, settings.training
    return Job("sft", rate, settings.sft.epochs, training, settings.compute, run, clock)


def prepared(
    tok: PreTrainedTokenizerBase, given: Sequence[TrainingRow], settings: Config
) -> tuple[list[TrainingRow], list[Example], list[list[int]]]:
    """Return the rows that are short enough, their tokens, and the planned steps, as `sft` does."""
    encoded = [(row, encode_chat(tok, row.messages, row.kind == RowKind.REHEARSAL)) for row in given]
    kept = [(row, each) for row, each in encoded if len(each.ids) <= settings.sft.max_tokens]
    chats, examples = [row for row, _ in kept], [each for _, each in kept]
    return chats, examples, planned(chats, [len(each.ids) for each in examples], settings.sft, settings.compute.seed)


def compared(
    directory: Path, folder: Path, settings: Config, trained: list[TrainingRow], held_out: list[TrainingRow]
) -> tuple[list[Turn], float]:
    """Train with both trainers in turn; return the turns, and our validation loss over TRL's.

    Raises:
        UserError: there are too few rows for two turns.
    """
    tok, compute = loading.tokenizer(directory), settings.compute
    chats, examples, plan = prepared(tok, trained, settings)
    if len(plan) < 2 * TURN:
        raise UserError(f"These rows make {len(plan)} steps, fewer than two turns of {TURN}; raise --rows or --epochs.")
    peer = Peer(trl_trainer(directory, folder, settings, chats, settings.sft.epochs))
    model = preparation.adaptable(directory, settings.sft.tuning, compute)
    objective = LanguageModel(model, examples, tok.pad_token_id)
    turns = Turns(objective, plan, PlainProducts(model, devices.dtype(compute)), peer)
    model.train()
    fit(model, objective, plan, job(settings, turns.clock))
    peer.advance(float("inf"))
    validation = [encode_chat(tok, row.messages) for row in held_out]
    losses = [
        mean_loss(each, LanguageModel(each, validation, tok.pad_token_id), compute)
        for each in (model, peer.trainer.model)
    ]
    print(f"{len(chats)} rows, {settings.sft.epochs} epochs: {len(plan)} steps, {peer.steps} of TRL")
    print(f"validation loss: {losses[0]:.3f}, TRL {losses[1]:.3f}")
    return turns.done[1:], losses[0] / losses[1]


def demo_seconds(directory: Path, curated: Path, settings: Config) -> float:
    """Return the estimated time of the steps of `sft` on the rows in `curated`."""
    tok = loading.tokenizer(directory)
    _, examples, plan = prepared(tok, read_training_rows(curated / "train.jsonl"), settings)
    drawn = random.Random(settings.compute.seed).sample(plan, min(DEMO_STEPS, len(plan)))
    model = preparation.adaptable(directory, settings.sft.tuning, settings.compute)
    objective = LanguageModel(model, examples, tok.pad_token_id, settings.sft.rehearsal_weight)
    clock = Clock()
    model.train()
    fit(model, objective, drawn, job(settings, clock))
    return statistics.median(clock.steps) * len(plan)


def table(turns: Sequence[Turn]) -> str:
    """Return the measurements as text: the median, lowest and highest over all turns."""
    lines = [f"{len(turns)} turns{'median':>24}{'lowest':>10}{'highest':>10}"]
    for name, values in (
        ("tokens/s", [each.ours for each in turns]),
        ("tokens/s of TRL", [each.theirs for each in turns]),
        ("share of plain products", [each.of_plain for each in turns]),
        ("GFLOP/s of plain products", [each.gigaflops for each in turns]),
    ):
        lines.append(f"{name:<26}" + "".join(f"{pick(values):>10.2f}" for pick in (statistics.median, min, max)))
    return "\n".join(lines)


def main(count: int, epochs: int, tiny: bool = False, curated: Path | None = None) -> dict[str, float | None]:
    """Run the benchmark on `count` rows of `curated`, by default of the project's questions; return all figures."""
    settings = parameters(tiny)
    devices.prepare(settings.compute)
    changed = settings.sft.model_copy(update={"epochs": epochs, "refusal_weight": 1.0})
    with tempfile.TemporaryDirectory() as folder, chdir(ROOT):
        directory = base_model(Path(folder) / "base", settings, tiny)
        trained, held_out = rows(settings, curated, count)
        comparison = settings.model_copy(update={"sft": changed})
        turns, loss_ratio = compared(directory, Path(folder) / "trl", comparison, trained, held_out)
        demo = demo_seconds(directory, curated, settings) if curated else None
    print(table(turns))
    speeds = [statistics.median(speed) for speed in zip(*((each.ours, each.theirs) for each in turns), strict=True)]
    return {
        "speedup_vs_trl": round(speeds[0] / speeds[1], 2),
        "loss_ratio": round(loss_ratio, 3),
        "of_plain_products": round(statistics.median(each.of_plain for each in turns), 3),
        "demo_stage_s": None if demo is None else round(demo),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160, help="rows to train on in the comparison with TRL")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to test the program")
    args = parser.parse_args()
    if min(args.rows, args.epochs) < 1:
        parser.error("--rows and --epochs must be at least 1.")
    finished = ROOT / artifacts.ARTIFACTS / "curate"
    curated = finished if (finished / artifacts.RECORD).exists() and not args.tiny else None
    try:
        print(json.dumps(main(args.rows, args.epochs, args.tiny, curated)))
    except UserError as error:
        parser.error(str(error))
