"""PPO and GRPO on a tiny model: rewards, the best round, and when a run stops."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.artifacts import write_rows
from pipelines.config import Config
from pipelines.models import devices, loading, saving
from pipelines.models.chat import encode_prompt
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints, write
from tasks.reward import reward
from tasks.rl import rl
from tests.support.alignment import options, say
from tests.support.teachers import PROMPTS

pytestmark = pytest.mark.slow


def test_ppo_after_reward_is_deterministic_and_keeps_the_best_round(sft: Path, pairs: Path, quick: Config) -> None:
    for out in (Path("artifacts/reward"), Path("first"), Path("second")):
        out.mkdir(parents=True)
    with tracking.started("reward", {}) as run:
        scores = reward(
            pairs,
            sft,
            Path("artifacts/reward"),
            quick.reward,
            quick.training,
            quick.compute,
            quick.base,
            run,
            Checkpoints(),
        )
    assert scores["held_out_accuracy"] == 1.0
    quick, adapters = options(quick, "rl", "ppo", iterations=4), []
    start = (sft / "adapter_model.safetensors").read_bytes()
    for out in (Path("first"), Path("second")):
        devices.prepare(quick.compute)
        with tracking.started("rl@ppo", {}) as run:
            metrics = rl("ppo", pairs, sft, Path("artifacts/reward"), out, quick, run, Checkpoints())
            store = tracking_store.client()
            rewards = [each.value for each in store.get_metric_history(run.id, "train/held_out_reward")]
            assert len(store.get_metric_history(run.id, "train/kl")) == 4
            table = json.loads(Path(store.download_artifacts(run.id, "samples.json", str(out))).read_text())
        assert table["columns"] == ["step", "question", "expected", "answer", "score"]
        assert [row[0] for row in table["data"]] == [number for number in (0, 2, 3, 4) for _ in range(4)]  # 1 is as 0
        assert metrics["kl_first"] == 0.0 and len(rewards) == 5
        assert metrics["best_round"] == rewards.index(max(rewards))
        assert metrics["held_out_reward_best"] == max(rewards) >= metrics["held_out_reward_first"] == rewards[0]
        adapters.append((out / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1] and (adapters[0] != start) == bool(metrics["best_round"])


def test_ppo_without_a_reward_head_is_a_user_error(sft: Path, pairs: Path, quick: Config) -> None:
    with tracking.started("rl@ppo", {}) as run, pytest.raises(UserError, match="no reward head"):
        rl("ppo", pairs, sft, sft, Path("out"), quick, run, Checkpoints())


def test_memory_is_estimated_for_the_policys_own_adapter_and_the_longest_prompt(
    sft: Path, pairs: Path, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = quick.model_dump(mode="json")
    values["sft"]["tuning"] = {"method": "full", "options": {}}
    asked = say("user", "What of the mill? " * 9)
    write_rows(pairs / "online_held_out.jsonl", [{"messages": asked + say("assistant", "good"), "kind": "answer"}])
    checked: list[Any] = []

    def check(*arguments: object) -> None:
        checked.extend(arguments)
        raise UserError("checked")

    monkeypatch.setattr("tasks.rl.memory.check", check)
    with tracking.started("rl@grpo", {}) as run, pytest.raises(UserError, match="checked"):
        rl("grpo", pairs, sft, sft, Path("out"), Config.model_validate(values), run, Checkpoints())
    _, start, longest, _, tuning, *_ = checked
    assert (start, tuning.method, tuning.options["r"]) == (Path("artifacts/base"), "lora", 4)
    assert longest == len(encode_prompt(loading.tokenizer(sft), asked))


def test_no_online_prompt_is_a_user_error(sft: Path, pairs: Path, quick: Config) -> None:
    (pairs / "online.jsonl").write_text("")
    message = r"rl@grpo: .*online\.jsonl has no prompt; raise pairs\.online_prompts or lower"
    with tracking.started("rl@grpo", {}) as run, pytest.raises(UserError, match=message):
        rl("grpo", pairs, sft, sft, Path("out"), quick, run, Checkpoints())


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_prompt_that_leaves_no_room_for_an_answer_is_a_user_error(
    sft: Path, pairs: Path, quick: Config, method: str
) -> None:
    quick = options(quick, "rl", method, max_new_tokens=500)
    message = (
        rf"a prompt has \d+ tokens, and the model's context of 512 leaves room for 12; lower rl\.{method}\.max_new"
    )
    with tracking.started(f"rl@{method}", {}) as run, pytest.raises(UserError, match=message):
        rl(method, pairs, sft, sft, Path("out"), quick, run, Checkpoints())


def test_adapter_that_cannot_be_copied_is_refused_before_the_model_is_loaded(
    base: Path, pairs: Path, quick: Config
) -> None:
    values = quick.model_dump(mode="json")
    values["align"]["tuning"] = {"method": "adalora", "options": {}}
    message = r"rl@grpo copies its adapter .* align\.tuning\.method is adalora: PEFT trains only one .* such as lora"
    with tracking.started("rl@grpo", {}) as run, pytest.raises(UserError, match=message):
        rl("grpo", pairs, base, base, Path("out"), Config.model_validate(values), run, Checkpoints())


def test_adapter_of_the_policy_that_cannot_be_copied_is_named_by_its_folder(
    base: Path, pairs: Path, quick: Config, tmp_path: Path
) -> None:
    tuning = TuningConfig(method="trainable_tokens", options={"token_indices": [3, 5]})
    model, tok = preparation.adaptable(base, tuning, quick.compute), loading.tokenizer(base)
    saving.save_adapter(model, tok, tmp_path / "dpo")
    message = r"rl@grpo copies .* the method of .*dpo is trainable_tokens: PEFT does not switch between"
    with tracking.started("rl@grpo", {}) as run, pytest.raises(UserError, match=message):
        rl("grpo", pairs, tmp_path / "dpo", base, Path("out"), quick, run, Checkpoints())


def test_training_whose_checkpoints_are_all_damaged_does_not_resume(
    sft: Path, pairs: Path, quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    def reward(*arguments: Any) -> None:
        found.append(arguments[-1])
        raise UserError("rewarded")

    monkeypatch.setattr("tasks.rl._reward", reward)
    write(tmp_path / "kept" / "1", 1, {"weight": torch.ones(1)}, {})
    for _ in range(2):
        with tracking.started("rl@grpo", {}) as run, pytest.raises(UserError, match="rewarded"):
            rl("grpo", pairs, sft, sft, Path("out"), quick, run, Checkpoints(tmp_path / "kept"))
        (tmp_path / "kept" / "1" / "tensors.safetensors").write_bytes(b"")
    assert found == [True, False]


def test_ppo_trains_an_adapter_of_the_output_layer(base: Path, pairs: Path, quick: Config) -> None:
    """The critic, a copy of the policy, does not run the output layer."""
    values = quick.model_dump(mode="json")
    targets = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "lm_head"]}
    values["align"]["tuning"] = {"method": "lora", "options": targets}
    changed = options(Config.model_validate(values), "rl", "ppo", reward={"tests.support.alignment:vowels": 1.0})
    with tracking.started("rl@ppo", {}) as run:
        metrics = rl("ppo", pairs, base, base, Path("out"), changed, run, Checkpoints())
    assert metrics["rounds"] == 2.0


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_verdict_needs_no_reward_model(
    sft: Path, pairs: Path, quick: Config, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs / "online_held_out.jsonl").write_text("")
    quick = options(quick, "rl", method, reward={"verdict": 1.0}, missing_eos_penalty=0.0)
    with tracking.started(f"rl@{method}", {}) as run:
        metrics = rl(method, pairs, sft, sft, Path("out"), quick, run, Checkpoints())
    assert metrics["held_out_reward_first"] == metrics["held_out_verdict_first"] == -3.0  # every answer is wrong
    assert metrics["best_round"] == 0.0  # none of them is better than the start
    saved, start = (load_file(each / "adapter_model.safetensors") for each in (Path("out"), sft))
    assert all(torch.equal(saved[name], start[name]) for name in start)
    printed = capsys.readouterr().err
    assert f"rl@{method}: no prompt is held out" in printed
    assert f"{method}: no round has a higher held-out reward than the start, so the start is kept." in printed


def test_policy_is_rewarded_by_its_own_start_as_a_judge(sft: Path, pairs: Path, quick: Config) -> None:
    values = quick.model_dump(mode="json")
    values["synthesize"]["prompts"] = str(PROMPTS)
    values["alignment"]["rl"]["grpo"] |= {"scorer": "sft", "options": {"reward": {"judge": 1.0}}}
    with tracking.started("rl@grpo", {}) as run:
        metrics = rl("grpo", pairs, sft, sft, Path("out"), Config.model_validate(values), run, Checkpoints())
    assert -1 < metrics["held_out_reward_first"] <= metrics["held_out_reward_best"] < 1
    assert metrics["held_out_reward_first"] not in (-3.0, 0.0)


def test_unhealthy_run_stops_and_keeps_the_best_round(
    sft: Path, pairs: Path, quick: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rewards = {"tests.support.alignment:vowels": 1.0}
    loose = {"learning_rate": 0.1, "kl_target": 1e-3, "health": {"max_kl": 1e-3}, "iterations": 5}
    quick = options(quick, "rl", "grpo", **loose, reward=rewards)
    with tracking.started("rl@grpo", {}) as run:
        metrics = rl("grpo", pairs, sft, sft, Path("out"), quick, run, Checkpoints())
        tags = tracking_store.client().get_run(run.id).data.tags
    assert metrics["stopped_by_kl"] == 1.0 and metrics["rounds"] < 5 and metrics["best_round"] < metrics["rounds"]
    assert "nats per answer, above 0.001 times the target of 0.001; round 0, the best one" in tags["stopped"]
    assert tags["stopped"] in capsys.readouterr().err
