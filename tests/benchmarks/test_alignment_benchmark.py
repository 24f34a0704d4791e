"""The benchmark of online alignment, with a tiny model: every figure is measured, and four models learn the same."""

import copy
from pathlib import Path

import pytest

from benchmarks import alignment_8b
from benchmarks.alignment import main
from benchmarks.alignment_four_models import FourModels
from benchmarks.alignment_trial import PHASES, asked, parameters, trainer, write_adapters
from pipelines.models import devices

pytestmark = pytest.mark.slow


@pytest.mark.e2e
def test_all_figures_are_measured() -> None:
    figures = main(prompts=4, new_tokens=6, repeats=1, tiny=True)
    seconds = {f"{name}{phase}_s" for name in ("", "four_models_", "four_adapted_") for phase in PHASES}
    speedups = {"speedup_vs_four_models", "speedup_vs_four_adapted", "rollout_speedup"}
    assert set(figures) == {"memory_vs_sft", "loss_difference", "one_by_one_s", *speedups, *seconds}
    assert figures["loss_difference"] < 1e-5
    assert all(figures[name] > 0 for name in ("memory_vs_sft", *speedups))


@pytest.mark.parametrize(("whole", "steps", "rounds"), [(True, 1, 1), (False, 2, 3)], ids=["whole", "adapted"])
def test_four_models_have_the_losses_of_four_adapters(
    base: Path, tmp_path: Path, whole: bool, steps: int, rounds: int
) -> None:
    """With all weights trained, only the first step has the same weights."""
    settings = parameters(True, 4, 6)
    block = settings.rl.ppo.model_copy(update={"minibatch": 4 // steps})
    settings = settings.model_copy(update={"rl": settings.rl.model_copy(update={"ppo": block})})
    devices.prepare(settings.compute)
    prompts = asked(base, 4, seed=1)
    policy, reward = write_adapters(base, tmp_path, settings)
    ours = trainer("ppo", policy, reward, settings)
    theirs = FourModels(policy, reward, copy.deepcopy(ours.value_head), settings, whole)  # type: ignore[attr-defined]
    for _ in range(rounds):
        metrics = ours.round(prompts, 0)
        losses = theirs.round([each.ids for each in prompts], [each.turn for each in ours.samples])
        assert len(losses["policy_loss"]) == steps and metrics["value_loss"] > 0
        for name, values in losses.items():
            assert metrics[name] == pytest.approx(sum(values) / steps, abs=1e-5)


def test_rounds_of_the_8b_shape_are_measured() -> None:
    figures = alignment_8b.main(tiny=True)
    keys = ("rollout_tokens_per_s", "update_tokens_per_s", "peak_gib", "estimated_gib")
    assert set(figures) == {"device", "shape", *(f"{method}_{key}" for method in ("ppo", "grpo") for key in keys)}
    assert all(value > 0 for value in figures.values() if not isinstance(value, str))
