"""Compare all methods of fine-tuning on the rows and validation questions of a project.

    python benchmarks/tuning.py --estimate                     # number of trials and tokens; nothing is run
    python benchmarks/tuning.py --tokens 60000 --seeds 3       # hours on a CPU; goes on after an interruption
    python benchmarks/tuning.py --methods "LoRA,DoRA,full"     # some of benchmarks/tuning_methods.py
    python benchmarks/tuning.py --tiny                         # a random model of two layers, in seconds

The project needs artifacts/base and artifacts/curate (`gradus run`). Each trial trains the base model with `sft` at one
learning rate, on the first planned steps with `--tokens` labelled tokens, for which the schedule is planned. Rows,
steps, rehearsal and the other parameters are those of params.yaml, equal for all methods; `adapter_scale` is 1, and
passages of the corpus are not trained on. Then the model answers at most `--questions` validation questions of each
set, never test questions.

A method is measured at three learning rates with the first seed and represented by the one with the best score, correct
minus wrong answers per question on the documents; the table tells how many of its rates were measured. With `--seeds`,
the best five methods are repeated with other seeds. The rate is chosen on the questions that are reported, so scores
are optimistic by about as much for every method; the standard deviation over seeds includes the seed that the choice
was made with.

`--out` gets trials.jsonl, to which every finished trial is added and whose trials are not repeated; a failed one has
its reason in `failed` and is repeated if its line is removed. It also gets table.md and learnt_forgotten.svg. A trial
runs in a process of its own: `peak_gib` is that process's resident memory, on a GPU that of PyTorch's allocator, with
the frozen copy of the base model that methods which train its own parameters need for rehearsal.

The last line is one JSON object: `best_method` and `best_score`, `lora_score`, and `methods_measured`, the number of
methods with at least one successful trial.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.tuning_methods import LORA, METHODS, Method
from benchmarks.tuning_report import Result, learnt_forgotten, table
from benchmarks.tuning_trial import Trial, inputs, measure, sampled
from pipelines import artifacts, config
from pipelines.artifacts import Row
from pipelines.evaluation.questions import SETS
from pipelines.evaluation.report.plots import svg
from pipelines.runtime import outages
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

ROOT = Path(__file__).parents[1]
BASE = "base model"
REPEATED = 5
"""Methods that are measured with several seeds."""
TINY = {name: replace(METHODS[name], rates=METHODS[name].rates[:1]) for name in (LORA, "full", "IA3")}
"""Methods at one learning rate, to test the program."""


class Trials:
    """The trials of a comparison: finished ones are read from `out`, others are run until the time is over."""

    def __init__(self, out: Path, shared: Trial, minutes: float | None) -> None:
        """Read the finished trials; `shared` has the project and the budget.

        Raises:
            UserError: the trials in `out` had another budget, model, rows, questions or parameters.
        """
        self.path, self.shared = out / "trials.jsonl", shared
        self.until = None if minutes is None else time.monotonic() + 60 * minutes
        self.inputs = inputs(shared.project, shared.tokens, shared.questions)
        self.rows = artifacts.read_rows(self.path) if self.path.exists() else []
        self.missing: list[str] = []
        if any(row["inputs"] != self.inputs for row in self.rows):
            raise UserError(
                f"{self.path} has trials with other tokens, questions, rows, weights or parameters; name another --out."
            )

    def measured(self, name: str, trial: Trial) -> Row | None:
        """Return the row of a trial, which is run unless it is finished; None if there is no time left for it."""
        key = {
            "method": name,
            "tuning": trial.tuning,
            "learning_rate": trial.learning_rate,
            "seed": trial.seed,
            "inputs": self.inputs,
        }
        for row in self.rows:
            if all(row[part] == value for part, value in key.items()):
                return row
        what = f"{name}, learning rate {trial.learning_rate:g}, seed {trial.seed}" if trial.tuning else name
        if self.until is not None and time.monotonic() >= self.until:
            self.missing.append(what)
            return None
        say(f"trial {len(self.rows) + 1}: {what}")
        row = key | outcome(trial)
        artifacts.add_rows(self.path, [row])
        self.rows.append(row)
        return row

    def chosen(self, name: str, method: Method) -> Result | None:
        """Measure a method at its learning rates; return the best, or None if there is none."""
        tuning = {"method": method.method, "options": method.options}
        rows = [self.measured(name, replace(self.shared, tuning=tuning, learning_rate=rate)) for rate in method.rates]
        good = [row for row in rows if row is not None and "failed" not in row]
        tried = f"{len(good)}/{len(rows)}"
        return Result(name, [max(good, key=lambda row: float(row["score"]))], tried) if good else None

    def repeated(self, result: Result, seeds: int) -> Result:
        """Measure a method at its learning rate with the other seeds."""
        (first,) = result.rows
        again = replace(self.shared, tuning=first["tuning"], learning_rate=first["learning_rate"])
        rows = [self.measured(result.name, replace(again, seed=first["seed"] + more)) for more in range(1, seeds)]
        return replace(result, rows=[first, *(row for row in rows if row is not None and "failed" not in row)])


def outcome(trial: Trial) -> Row:
    """Run a trial in a new process; return its figures, or why it failed.

    Processes are forked from a server that has imported the libraries but has not computed anything.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([measure.__module__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        done = pool.submit(measure, trial)
        error = done.exception()
    if error is None:
        return done.result()
    reason = outages.sentence(error) or f"{type(error).__name__}: {error}"
    say(f"failed: {reason}")
    return {"failed": " ".join(reason.split())}


def compared(trials: Trials, methods: Mapping[str, Method], seeds: int) -> tuple[Row, list[Result]]:
    """Measure the base model and the methods; return its row, and a result of every method that has one.

    Raises:
        UserError: the base model could not be measured.
    """
    base = trials.measured(BASE, replace(trials.shared, known=()))
    if base is None or "failed" in base:
        raise UserError("The base model was not measured: " + (base["failed"] if base else "raise --minutes."))
    trials.shared = replace(trials.shared, known=tuple(base["general_correct"]))
    found = [trials.chosen(name, method) for name, method in methods.items()]
    results = sorted((each for each in found if each is not None), key=lambda result: -result.score)
    return base, [trials.repeated(each, seeds) for each in results[:REPEATED]] + results[REPEATED:]


def main(
    project: Path,
    out: Path,
    methods: Mapping[str, Method],
    tokens: int,
    most: int,
    seeds: int = 1,
    minutes: float | None = None,
) -> Row:
    """Compare the `methods` on the project; write the table and the plot, and return the summary.

    Raises:
        UserError: `base` or `curate` has not run, or `out` belongs to another comparison.
    """
    with chdir(project):
        settings = config.load()
        asked = sampled(settings, most)
    out.mkdir(parents=True, exist_ok=True)
    trials = Trials(out, Trial(project, tokens, most, seed=settings.compute.seed), minutes)
    base, results = compared(trials, methods, seeds)
    failed = [row for row in trials.rows if "failed" in row and row["method"] in methods]
    counts = {name: sum(each.set == name for each in asked) for name in SETS}
    (out / "table.md").write_text(table(base, results, failed, tokens, counts), encoding="utf-8")
    (out / "learnt_forgotten.svg").write_bytes(svg(learnt_forgotten(results)))
    if trials.missing:
        say("not measured, because the time was over:\n" + "\n".join(trials.missing))
    scores = {result.name: round(result.score, 4) for result in results}
    best = max(scores, key=lambda name: scores[name]) if scores else None
    return {
        "best_method": best,
        "best_score": scores.get(best or ""),
        "lora_score": scores.get(LORA),
        "methods_measured": len(scores),
    }


def estimate(methods: Mapping[str, Method], tokens: int, seeds: int) -> Row:
    """Return the number of trainings, and their labelled tokens."""
    count = sum(len(method.rates) for method in methods.values()) + (seeds - 1) * min(REPEATED, len(methods))
    return {"methods": len(methods), "trials": count, "labelled_tokens": count * tokens}


def tiny_project(folder: Path) -> Path:
    """Write a project with a random model, some rows and the questions of this one to `folder`, and return it."""
    from tests.conftest import tiny_model, tiny_tokenizer  # sets OMP_NUM_THREADS

    values = config.load(ROOT / "params.yaml").model_dump(mode="json")
    values["compute"] |= {"device": "cpu", "threads": 1, "precision": "fp32"}
    values["evaluate"] |= {"beams": 1, "max_new_tokens": 4, "questions": str(ROOT / "data/questions")}
    with chdir(folder):
        artifacts.write_json(Path("params.yaml"), values)  # JSON is YAML
        base, curated = artifacts.fresh("base"), artifacts.fresh("curate")
        tok = tiny_tokenizer()
        tiny_model(tok).save_pretrained(base)
        tok.save_pretrained(base)
        artifacts.write_rows(curated / "train.jsonl", tiny_rows())
        for directory in (base, curated):
            artifacts.complete(directory, {})
    return folder


def tiny_rows() -> Iterator[Row]:
    """Yield training rows, of which some refuse and some rehearse."""
    kinds = ("answer", "answer", "refusal", "rehearsal")
    for number in range(16):
        asked = {"role": "user", "content": f"What is number {number}?"}
        messages = [asked, {"role": "assistant", "content": f"It is {number}."}]
        yield {"messages": messages, "kind": kinds[number % 4], "variant": None}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=ROOT, help="folder with artifacts/base and artifacts/curate")
    parser.add_argument("--out", type=Path, help="folder of the results; default artifacts/tuning in the project")
    parser.add_argument("--methods", help="names in METHODS, separated by commas; default all")
    parser.add_argument("--tokens", type=int, default=60_000, help="labelled tokens of each training")
    parser.add_argument("--questions", type=int, default=100, help="maximum validation questions of each set")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the best five methods")
    parser.add_argument("--minutes", type=float, help="no trial is started after so many minutes")
    parser.add_argument("--estimate", action="store_true", help="only print the number of trainings and tokens")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and three methods, to test the program")
    args = parser.parse_args()
    known = TINY if args.tiny else METHODS
    names = args.methods.split(",") if args.methods else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no method {unknown[0]!r}; there are {', '.join(known)}.")
    methods = {name: known[name] for name in names}
    if min(args.tokens, args.questions, args.seeds) < 1:
        parser.error("--tokens, --questions and --seeds must be at least 1.")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if args.estimate:
                print(json.dumps(estimate(methods, args.tokens, args.seeds)))
            elif args.tiny:
                print(json.dumps(main(tiny_project(Path(scratch)), args.out or Path(scratch) / "out", methods, 200, 8)))
            else:
                place = args.project.resolve(), (args.out or args.project / "artifacts/tuning").resolve()
                figures = main(*place, methods, args.tokens, args.questions, args.seeds, args.minutes)
                print(json.dumps(figures))
        except UserError as error:
            parser.error(str(error))
