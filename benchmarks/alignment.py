"""Compare online alignment with fine-tuning in memory, with four models in speed, and with `generate` in its rollouts.

    python benchmarks/alignment.py                # the base model; minutes on two idle cores
    python benchmarks/alignment.py --prompts 32 --new-tokens 40  # the rounds of params.yaml
    python benchmarks/alignment.py --tiny         # a random model of two layers, in seconds
    python benchmarks/alignment.py --shape 8b     # an 8B Llama in NF4 on one GPU, 40 GB of disk; also with --tiny

The last line is one JSON object:

- `memory_vs_sft`: peak memory of a round of PPO over that of an SFT step on as many tokens as the round's longest
  micro-batch, both with adapters of `align.tuning` on the same frozen model. Each runs in processes of its own, and the
  second round or step counts, when the optimisers have their states. On a CPU the peak is that of the resident memory,
  minus what the process had before it loaded the model; on a GPU that of PyTorch's allocator.
- `speedup_vs_four_models`: seconds of a round (rollout, scoring, update) of PPO with four whole models, over ours with
  four adapters on one frozen model. Reference and reward model are merged; all weights of policy and critic are
  trained.
- `speedup_vs_four_adapted`: the same, but only an adapter each of policy and critic is trained, on a model of its own.
  It shows what the implementation gains, since one frozen model has as many products to compute as four.
- `rollout_speedup`: tokens per second of our batched rollout over those of `generate`, called prompt by prompt with the
  adapter merged.
- `loss_difference`: largest difference of the losses of policy and critic from those of the four adapted models, means
  of a round, over all rounds.
- `rollout_s`, `scoring_s`, `update_s`: seconds of our round; `four_models_…` and `four_adapted_…` of theirs;
  `one_by_one_s` of the answers prompt by prompt.

All implementations score and learn from our answers, so that they compute the same tokens. Answers have the greatest
length: no stop token ends them. Prompts are validation questions of the project; half of them are an optimiser step.
On a CPU, seconds are the processor time of the process, whatever else runs there; all are measured in turn, and figures
are medians over `--repeats` turns, after one that does not count.

With `--shape 8b`, PPO and GRPO with 16 prompts, for GRPO of 4 answers each, of 256 tokens: peak and estimated memory,
and tokens per second of rollout (answers) and update (prompts and answers).
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch

from benchmarks import alignment_8b
from benchmarks.alignment_four_models import FourModels
from benchmarks.alignment_trial import (
    PHASES,
    ROOT,
    ClockedPPO,
    asked,
    isolated,
    parameters,
    round_peak,
    step_peak,
    timed,
    trainer,
    write_adapters,
)
from benchmarks.base_model import base_model
from pipelines.alignment.rl.samples import Prompt
from pipelines.config import Config
from pipelines.models import devices
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Largest difference of a loss by precision. In bf16, a merged adapter rounds otherwise than one beside the weights."""


def memory_ratio(policy: Path, reward: Path, prompts: list[Prompt], settings: Config, repeats: int) -> float:
    """Return the median peak of a round over that of an SFT step."""
    peaks = [
        (isolated(round_peak, policy, reward, prompts, settings), isolated(step_peak, policy, prompts, settings))
        for _ in range(repeats)
    ]
    ours, sft = (statistics.median(each) / 2**20 for each in zip(*peaks, strict=True))
    say(f"peak memory: {ours:.0f} MiB, SFT {sft:.0f} MiB")
    return ours / sft


class Turns:
    """Rounds of all implementations in turn."""

    def __init__(self, policy: Path, reward: Path, prompts: list[Prompt], settings: Config) -> None:
        """Load all models."""
        self.prompts, self.ids = prompts, [each.ids for each in prompts]
        self.ours = trainer("ppo", policy, reward, settings)
        assert isinstance(self.ours, ClockedPPO)
        head = self.ours.value_head
        self.others = {
            name: FourModels(policy, reward, copy.deepcopy(head), settings, whole=name == "four_models")
            for name in ("four_models", "four_adapted")
        }
        self.seconds: dict[str, list[float]] = {}
        self.difference = 0.0

    def run(self) -> None:
        """Measure one turn."""
        metrics = self.ours.round(self.prompts, 0)
        self._add("", self.ours.seconds)
        turns = [each.turn for each in self.ours.samples]
        for name, each in self.others.items():
            losses = {key: statistics.fmean(values) for key, values in each.round(self.ids, turns).items()}
            self._add(f"{name}_", each.seconds)
            if name == "four_adapted":
                self.difference = max(self.difference, *(abs(metrics[key] - value) for key, value in losses.items()))
        alone = self.others["four_models"]
        _, seconds = timed(lambda: [alone.answer([ids]) for ids in self.ids])
        self._add("", {"one_by_one": seconds})

    def _add(self, prefix: str, seconds: dict[str, float]) -> None:
        for phase, value in seconds.items():
            self.seconds.setdefault(f"{prefix}{phase}_s", []).append(value)

    def median(self, prefix: str) -> float:
        """Return the median seconds of a round."""
        rounds = zip(*(self.seconds[f"{prefix}{phase}_s"] for phase in PHASES), strict=True)
        return statistics.median(map(sum, rounds))


def speeds(policy: Path, reward: Path, prompts: list[Prompt], settings: Config, repeats: int) -> dict[str, float]:
    """Return the speed figures.

    Raises:
        RuntimeError: the losses of the implementations differ, so that they are not the same algorithm.
    """
    devices.prepare(settings.compute)
    turns = Turns(policy, reward, prompts, settings)
    turns.run()
    turns.seconds.clear()
    for _ in range(repeats):
        turns.run()
    if turns.difference > TOLERANCE[devices.dtype(settings.compute)]:
        raise RuntimeError(f"the losses differ by {turns.difference:.4f}: these are not the same algorithm")
    medians = {name: statistics.median(values) for name, values in turns.seconds.items()}
    say("\n".join(f"{name:<26}{value:10.2f}" for name, value in medians.items()))
    return {
        "speedup_vs_four_models": round(turns.median("four_models_") / turns.median(""), 2),
        "speedup_vs_four_adapted": round(turns.median("four_adapted_") / turns.median(""), 2),
        "rollout_speedup": round(medians["one_by_one_s"] / medians["rollout_s"], 2),
        "loss_difference": float(f"{turns.difference:.1e}"),
        **{name: round(value, 2) for name, value in medians.items()},
    }


def main(prompts: int, new_tokens: int, repeats: int, tiny: bool = False, threads: int | None = None) -> dict[str, Any]:
    """Run the comparisons; return all figures."""
    settings = parameters(tiny, prompts, new_tokens, threads)
    with tempfile.TemporaryDirectory() as folder, chdir(ROOT):
        base = isolated(base_model, Path(folder) / "base", settings, tiny)
        policy, reward = isolated(write_adapters, base.absolute(), Path(folder), settings)
        questions = asked(base, prompts, settings.compute.seed)
        ratio = memory_ratio(policy, reward, questions, settings, repeats)
        return {"memory_vs_sft": round(ratio, 2), **speeds(policy, reward, questions, settings, repeats)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8, help="prompts of a round, an even number")
    parser.add_argument("--new-tokens", type=int, default=16, help="length of an answer")
    parser.add_argument("--repeats", type=int, default=2, help="turns, and processes per peak")
    parser.add_argument("--threads", type=int, help="of a CPU, by default those of params.yaml; 1 if it is busy")
    parser.add_argument("--shape", choices=("base", "8b"), default="base", help="8b: rounds of an 8B model on a GPU")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to test the program")
    args = parser.parse_args()
    if args.prompts < 2 or args.prompts % 2 or min(args.new_tokens, args.repeats) < 1:
        parser.error("--prompts must be an even number, and --new-tokens and --repeats at least 1.")
    try:
        if args.shape == "8b":
            print(json.dumps(alignment_8b.main(args.tiny)))
        else:
            print(json.dumps(main(args.prompts, args.new_tokens, args.repeats, args.tiny, args.threads)))
    except UserError as error:
        parser.error(str(error))
