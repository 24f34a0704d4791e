"""Offline and online alignment of a tiny model, from the SFT adapter to an aligned one, and its resumption."""

import json
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.models import adapters, devices, loading, saving, weights
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from tasks.align import align, main
from tasks.reward import reward
from tasks.rl import rl
from tests.support.alignment import margin, options
from tests.support.interruptions import Impatient

pytestmark = pytest.mark.slow

VOWELS = {"tests.support.alignment:vowels": 1.0}


def test_dpo_prefers_the_chosen_answer(sft: Path, pairs: Path, quick: Config) -> None:
    with tracking.started("align@dpo", {}) as run:
        metrics = align(
            pairs,
            sft,
            Path("out"),
            quick.align.dpo,
            quick.training,
            quick.compute,
            quick.base,
            run,
            Checkpoints(),
        )
        store = tracking_store.client()
        history = store.get_metric_history(run.id, "train/rewards/margins")
        table = json.loads(Path(store.download_artifacts(run.id, "samples.json", ".")).read_text())
    assert history[0].value == pytest.approx(0.0, abs=1e-4) and history[-1].value > 0
    assert metrics["accuracy"] == 1.0
    assert table["columns"] == ["step", "question", "expected", "answer"]
    assert [row[0] for row in table["data"]] == [metrics["steps"]] * 4 == [8.0] * 4
    assert margin(Path("out"), quick) > margin(sft, quick) + 0.5
    assert sorted(path.name for path in Path("out").glob("*.safetensors")) == ["adapter_model.safetensors"]
    assert adapters.parent(Path("out")) == Path("artifacts/base")


@pytest.mark.parametrize("stage", ["reward", "align@dpo", "rl@ppo", "rl@grpo"])
def test_interrupted_training_gives_the_same_weights(
    sft: Path, pairs: Path, quick: Config, tmp_path: Path, stage: str
) -> None:
    rest = {"iterations": 3, "kl_horizon": 8}
    quick = options(quick, "rl", "ppo", **rest)
    quick = options(quick, "rl", "grpo", **rest, reward=VOWELS)

    def fit(out: Path, checkpoints: Checkpoints) -> tuple[dict[str, float], list[bytes]]:
        devices.prepare(quick.compute)
        out.mkdir(parents=True, exist_ok=True)
        common = (quick.training, quick.compute, quick.base)
        with tracking.started(stage, {}) as run:
            if stage == "reward":
                metrics = reward(pairs, sft, out, quick.reward, *common, run, checkpoints)
            elif stage == "align@dpo":
                metrics = align(pairs, sft, out, quick.align.dpo, *common, run, checkpoints)
            else:
                metrics = rl(stage[3:], pairs, sft, Path("judge"), out, quick, run, checkpoints)
        return metrics, [path.read_bytes() for path in sorted(out.glob("*.safetensors"))]

    if stage == "rl@ppo":
        Path("judge").mkdir()
        with tracking.started("reward", {}) as run:
            reward(
                pairs,
                sft,
                Path("judge"),
                quick.reward,
                quick.training,
                quick.compute,
                quick.base,
                run,
                Checkpoints(),
            )
    whole = fit(Path("whole"), Checkpoints())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(Path("cut"), Impatient(tmp_path / "kept"))
    assert fit(Path("parts"), Checkpoints(tmp_path / "kept")) == whole


def test_alignment_of_a_model_with_trained_weights_adds_an_adapter(base: Path, pairs: Path, quick: Config) -> None:
    sft, lora = Path("artifacts/sft"), TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
    whole = preparation.trainable(base, TuningConfig(method="full", options={}), quick.compute, quick.base)
    whole.get_input_embeddings().weight.data *= 3
    saving.save(whole, loading.tokenizer(base), sft, base)
    common = (quick.training, quick.compute, quick.base)
    for name in ("reward", "dpo", "ppo"):
        Path(name).mkdir()
        with tracking.started(name, {}) as run:
            rest = (run, Checkpoints(), lora)
            if name == "reward":
                assert reward(pairs, sft, Path(name), quick.reward, *common, *rest)["held_out_accuracy"] == 1.0
            elif name == "dpo":
                align(pairs, sft, Path(name), quick.align.dpo, *common, *rest)
                assert margin(Path("dpo"), quick) > margin(sft, quick) + 0.5
            else:
                metrics = rl("ppo", pairs, sft, Path("reward"), Path(name), quick, run, Checkpoints())
                assert metrics["kl_first"] == 0.0
        assert adapters.parent(Path(name)) == sft


@pytest.mark.parametrize("stage", ["reward", "align.dpo"])
def test_training_that_cannot_run_here_is_refused_before_weights_are_loaded(
    stage: str, base: Path, sft: Path, pairs: Path, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.keep_hash(base)
    (base / "model.safetensors").unlink()
    eight_bit = quick.training.model_copy(update={"optimizer": "adamw_8bit"})
    expected = {1: f"{stage} needs an estimated .*lower pairs.max_tokens", 2**40: "'adamw_8bit', which needs a GPU"}
    for free, training in ((1, quick.training), (2**40, eight_bit)):
        monkeypatch.setattr(devices, "available", lambda _, free=free: free)
        with tracking.started(stage, {}) as run, pytest.raises(UserError, match=expected[free]):
            rest = (training, quick.compute, quick.base, run, Checkpoints())
            if stage == "reward":
                reward(pairs, sft, Path("out"), quick.reward, *rest)
            else:
                align(pairs, sft, Path("out"), quick.align.dpo, *rest)


def test_unknown_row_is_a_user_error(sft: Path, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main("kto")
    assert exit_info.value.code == 2
    assert "alignment.align in params.yaml has no row 'kto'" in capsys.readouterr().err
