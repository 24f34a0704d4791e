"""Compare a process with an outcome reward model by best-of-n on generated problems of several steps.

    python benchmarks/process_rewards.py --small               # a small model trained from scratch, minutes on a CPU
    python benchmarks/process_rewards.py --small --seeds 3     # finished seeds and labels in --out are not repeated
    python benchmarks/process_rewards.py                       # the project's base model; hours on a CPU
    python benchmarks/process_rewards.py --tiny                # to test the program, in seconds

For each seed, a policy is fine-tuned on reference solutions. On other problems, solutions are sampled from it and the
labels of their steps from rollouts (`pipelines/alignment/process/`). A process reward model learns these labels, an
outcome reward model whether the final answer is right, both as equal adapters on the policy, from the same solutions,
epochs and learning rate. On test problems, the policy samples n solutions, from which each model picks one. Problems of
the three parts share no chain of operations.

`--out` gets best_of_n.svg, table.md, and one folder per seed with the policy, labels, scores and result.json; what is
finished is kept after an interruption. The last line is one JSON object, over the problems of all seeds, with n
samples: `process_minus_outcome`, the difference in accuracy of the two picks (the process reward model by its worst
step), its 95% `interval` (paired bootstrap over problems, which does not include the variance of training the models
again), and the accuracies `majority`, `any_correct` and `one_sample`.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch

from benchmarks import process_policies as policies
from benchmarks.process_policies import SETTINGS, Setting, job
from benchmarks.process_report import Measured, label_facts, summary, table
from pipelines import artifacts, config
from pipelines.alignment.backbone import POLICY, Backbone, scalar_head, train_only
from pipelines.alignment.process import step_reward
from pipelines.alignment.process.problems import Problem, splits
from pipelines.alignment.process.rollouts import Rollouts, completer, label, sample
from pipelines.alignment.process.step_reward import AGGREGATES, StepExample
from pipelines.alignment.process.steps import Solution, answer_of, is_right, true_steps
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation.report.plots import accuracy_by_k, svg
from pipelines.models import devices, loading
from pipelines.models.templates.stops import answer_text
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.models.weights import stored_hash
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

ROOT = Path(__file__).parents[1]
LORA = TuningConfig(method="lora", options={"r": 32, "lora_alpha": 64})
"""Adapter of both reward models, if the policy is no adapter itself; otherwise they start from the policy's."""


def parameters(seed: int, setting: Setting) -> Config:
    """Return the parameters of the project with this seed; a model of random weights is trained on one CPU thread."""
    values = config.load(ROOT / "params.yaml").model_dump(mode="json")
    values["compute"] |= {"seed": seed}
    if setting.width:
        values["compute"] |= {"device": "cpu", "threads": 1, "precision": "fp32"}
    return Config.model_validate(values)


def trained_policy(folder: Path, setting: Setting, problems: list[Problem], settings: Config) -> Path:
    """Return the folder of the policy, which is trained unless it is finished."""
    out = folder / "policy"
    if not (out / artifacts.RECORD).exists():
        begin = policies.start(folder, setting, settings.compute.seed)
        policies.train(begin, out, problems, setting, settings)
        artifacts.complete(out, {})
    return out


def step_scores(
    policy: Path, what: str, examples: Sequence[StepExample], asked: list[Solution], setting: Setting, settings: Config
) -> list[list[float]]:
    """Train a reward model on `examples`; return the log-probabilities of the steps of the solutions `asked`.

    They are kept beside the policy.
    """
    path = policy.with_name(f"{what}.json")
    if not path.exists():
        model = preparation.peft_adaptable(policy, LORA, settings.compute, settings.base)
        train_only(model, [POLICY])
        backbone, head = Backbone(model, loading.tokenizer(policy), settings.compute), scalar_head(model)
        step_reward.train(backbone, head, examples, setting.batch_tokens, job(what, setting, settings))
        artifacts.write_json(path, step_reward.step_scores(backbone, head, asked, setting.batch_size))
    scores: list[list[float]] = artifacts.read_json(path)
    return scores


def measured(folder: Path, setting: Setting, settings: Config) -> Measured:
    """Train, label, sample and score with one seed."""
    devices.prepare(settings.compute)
    seed = settings.compute.seed
    sizes = {"policy": setting.problems, "reward": setting.labelled, "test": setting.tested}
    parts = splits(sizes, seed, setting.operations, setting.largest)
    policy = trained_policy(folder, setting, parts["policy"], settings)
    model, tok = loading.load(policy, settings.compute, settings.base), loading.tokenizer(policy)
    sampled, greedy = (
        completer(model, tok, setting.max_new_tokens, temperature, setting.batch_size)
        for temperature in (setting.temperature, None)
    )
    rollouts = Rollouts(setting.solutions, setting.completions, seed)
    labelled = label(parts["reward"], tok, sampled, rollouts, folder / "labels", stored_hash(policy))
    torch.manual_seed(seed)
    asked = [problem for problem in parts["test"] for _ in range(setting.n)]
    solutions = sample(parts["test"], tok, sampled, setting.n)
    decoded = sample(parts["test"], tok, greedy, 1)
    process = step_reward.process_examples(labelled, soft=False)
    steps = step_scores(policy, "process_reward", process, solutions, setting, settings)
    outcome = step_reward.outcome_examples(labelled)
    ends = step_scores(
        policy, "outcome_reward", outcome, list(map(step_reward.last_only, solutions)), setting, settings
    )
    truth = [true_steps(tok, problem, each) for problem, each in zip(asked, solutions, strict=True)]
    right = [is_right(tok, problem, each.response) for problem, each in zip(asked, solutions, strict=True)]
    rows = [
        {
            "answer": answer_of(answer_text(tok, solution.response)) or "",
            "correct": correct,
            "outcome": end,
            **{name: aggregate(scores) for name, aggregate in AGGREGATES.items()},
        }
        for solution, correct, (end,), scores in zip(solutions, right, ends, steps, strict=True)
    ]
    problems = [problem for problem in parts["reward"] for _ in range(setting.solutions)]
    facts = {
        "decoded": mean(
            is_right(tok, *pair) for pair in zip(parts["test"], (d.response for d in decoded), strict=True)
        ),
        "process_step_accuracy": _agreement(steps, truth),
        "outcome_accuracy": _agreement(ends, [[each] for each in right]),
        **label_facts(
            labelled,
            [true_steps(tok, problem, each.solution) for problem, each in zip(problems, labelled, strict=True)],
        ),
    }
    return Measured(seed, [rows[at : at + setting.n] for at in range(0, len(rows), setting.n)], facts)


def _agreement(scores: list[list[float]], truth: list[list[bool]]) -> float:
    """Return the share of steps whose probability is above one half exactly if they are right."""
    pairs = [pair for each in zip(scores, truth, strict=True) for pair in zip(*each, strict=True)]
    return mean((score > math.log(0.5)) == right for score, right in pairs)


def main(setting: Setting, out: Path, seeds: int) -> Row:
    """Measure every seed that `out` does not have; write the table and the plot, and return the summary.

    Raises:
        UserError: the base model is missing, or `out` has results of another setting.
    """
    found = []
    for seed in range(1, seeds + 1):
        folder = out / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        same_setting(folder / "setting.json", setting)
        path = folder / "result.json"
        if not path.exists():
            say(f"seed {seed} of {seeds}")
            artifacts.write_json(path, asdict(measured(folder, setting, parameters(seed, setting))))
        found.append(Measured(**artifacts.read_json(path)))
    result = summary(found)
    (out / "table.md").write_text(table(found), encoding="utf-8")
    (out / "best_of_n.svg").write_bytes(svg(accuracy_by_k(result)))
    return result["figures"]


def same_setting(path: Path, setting: Setting) -> None:
    """Write the setting to `path`.

    Raises:
        UserError: the file has another one.
    """
    facts = json.loads(json.dumps(asdict(setting) | {"tuning": setting.tuning.model_dump()}))
    if path.exists() and artifacts.read_json(path) != facts:
        raise UserError(f"{path} is of other amounts or another policy; name another --out.")
    artifacts.write_json(path, facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--small", action="store_true", help="a small model trained from scratch")
    kind.add_argument("--tiny", action="store_true", help="a tiny model, to test the program")
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of everything, problems included")
    parser.add_argument("--out", type=Path, help="folder of the results; default artifacts/process_rewards")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds must be at least 1.")
    name = "small" if args.small else "tiny" if args.tiny else "base"
    with tempfile.TemporaryDirectory() as scratch, chdir(ROOT):
        out = args.out or (Path(scratch) if args.tiny else artifacts.ARTIFACTS / f"process_rewards/{name}")
        try:
            print(json.dumps(main(SETTINGS[name], out.resolve(), args.seeds)))
        except UserError as error:
            parser.error(str(error))
