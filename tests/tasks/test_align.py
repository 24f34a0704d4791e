"""DPO and PPO tasks on a tiny model, from the SFT adapter to an aligned one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.artifacts import Row, complete, write_rows
from pipelines.config import Config
from pipelines.models import adapters, devices, loading, saving
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from tasks.align import dpo, main, reinforce
from tasks.reward import reward
from tests.support.impatient import Impatient
from tests.support.teachers import PROMPTS

pytestmark = pytest.mark.slow

WORDS = ["mill", "tide", "quay", "well", "lamp", "bell", "ferry", "harbour"]


def say(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


@pytest.fixture
def sft(base: Path, config: Config) -> Path:
    """Return an SFT adapter with random weights."""
    model = preparation.adaptable(base, TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8}), config.compute)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    saving.save_adapter(model, loading.tokenizer(base), Path("artifacts/sft"))
    return Path("artifacts/sft")


@pytest.fixture
def preferences(project: Path) -> Path:
    """Write pairs with a rule to learn: `good` is preferred to `bad`."""
    rows: list[Row] = [
        {
            "prompt": say("user", f"What of the {word}, number {number}?"),
            "chosen": say("assistant", "good"),
            "rejected": say("assistant", "bad"),
            "kind": "answer",
            "source": None,
            "reference": "good",
            "provenance": "sample" if number % 2 else "refusal",
            "margin": 1.0,
        }
        for number in range(5)
        for word in WORDS
    ]
    directory = Path("artifacts/preferences")
    directory.mkdir(parents=True)
    write_rows(directory / "train.jsonl", rows[:32])
    write_rows(directory / "held_out.jsonl", rows[32:])
    return directory


@pytest.fixture
def quick(config: Config) -> Config:
    """Return parameters with fewer and larger steps."""
    align = config.align
    small = {"iterations": 2, "prompts": 8, "minibatch": 8, "microbatch": 4, "epochs": 1, "max_new_tokens": 4}
    changes = {
        "dpo": align.dpo.model_copy(update={"learning_rate": 5e-3, "epochs": 2, "batch_size": 8}),
        "ppo": align.ppo.model_copy(update={**small, "learning_rate": 1e-3}),
        "grpo": align.grpo.model_copy(update={**small, "prompts": 4, "samples": 2, "learning_rate": 1e-3}),
    }
    return config.model_copy(
        update={
            "align": align.model_copy(update=changes),
            "reward": config.reward.model_copy(update={"learning_rate": 1e-2, "epochs": 3, "batch_size": 8}),
        }
    )


def vowels(prompts: list[object], answers: list[str], references: list[str]) -> list[float]:
    """A reward: the number of vowels."""
    assert len(prompts) == len(answers) and set(references) == {"good"}
    return [float(sum(letter in "aeiou" for letter in answer)) for answer in answers]


def margin(directory: Path, config: Config) -> float:
    """Return the difference in log-probability of "good" and "bad" after a prompt."""
    model, tok = loading.load(directory, config.compute), loading.tokenizer(directory)
    asked = tok.apply_chat_template(say("user", "What of the mill?"), add_generation_prompt=True, return_dict=True)
    with torch.no_grad():
        logs = model(torch.tensor([asked["input_ids"]])).logits[0, -1].log_softmax(-1)
    good, bad = (tok(word)["input_ids"][0] for word in ("good", "bad"))
    return float(logs[good] - logs[bad])


def test_dpo_prefers_the_chosen_answer(sft: Path, preferences: Path, quick: Config) -> None:
    with tracking.started("align@dpo", {}) as run:
        metrics = dpo(
            preferences,
            sft,
            Path("out"),
            quick.align.dpo,
            quick.training,
            quick.compute,
            quick.base,
            run,
            Checkpoints(),
        )
        history = tracking_store.client().get_metric_history(run.id, "train/rewards/margins")
    assert history[0].value == pytest.approx(0.0, abs=1e-4) and history[-1].value > 0
    assert metrics["accuracy"] == 1.0
    assert margin(Path("out"), quick) > margin(sft, quick) + 0.5
    assert sorted(path.name for path in Path("out").glob("*.safetensors")) == ["adapter_model.safetensors"]
    assert adapters.parent(Path("out")) == Path("artifacts/base")


@pytest.mark.parametrize("stage", ["reward", "align@dpo", "align@ppo", "align@grpo"])
def test_interrupted_training_gives_the_same_weights(
    sft: Path, preferences: Path, quick: Config, tmp_path: Path, stage: str
) -> None:
    adaptive = {"iterations": 3, "kl_horizon": 8, "reward": {"tests.tasks.test_align:vowels": 1.0}}
    online = {
        name: getattr(quick.align, name).model_copy(update=adaptive | rest)
        for name, rest in (("ppo", {"reward": {"model": 1.0}}), ("grpo", {}))
    }
    quick = quick.model_copy(update={"align": quick.align.model_copy(update=online)})

    def fit(out: Path, checkpoints: Checkpoints) -> tuple[dict[str, float], list[bytes]]:
        devices.prepare(quick.compute)
        out.mkdir(parents=True, exist_ok=True)
        common = (quick.training, quick.compute, quick.base)
        with tracking.started(stage, {}) as run:
            if stage == "reward":
                metrics = reward(preferences, sft, out, quick.reward, *common, run, checkpoints)
            elif stage == "align@dpo":
                metrics = dpo(preferences, sft, out, quick.align.dpo, *common, run, checkpoints)
            else:
                metrics = reinforce(stage[6:], preferences, sft, Path("judge"), out, quick, run, checkpoints)
        return metrics, [path.read_bytes() for path in sorted(out.glob("*.safetensors"))]

    if stage == "align@ppo":
        Path("judge").mkdir()
        with tracking.started("reward", {}) as run:
            reward(
                preferences,
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


def online(config: Config, method: str, **changes: object) -> Config:
    """Return `config` with changes of the block of `method`."""
    block = getattr(config.align, method).model_copy(update=changes)
    return config.model_copy(update={"align": config.align.model_copy(update={method: block})})


def test_ppo_after_reward_is_deterministic_and_keeps_the_best_round(
    sft: Path, preferences: Path, quick: Config
) -> None:
    for out in (Path("artifacts/reward"), Path("first"), Path("second")):
        out.mkdir(parents=True)
    with tracking.started("reward", {}) as run:
        scores = reward(
            preferences,
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
    quick, adapters, start = online(quick, "ppo", iterations=4), [], (sft / "adapter_model.safetensors").read_bytes()
    for out in (Path("first"), Path("second")):
        devices.prepare(quick.compute)
        with tracking.started("align@ppo", {}) as run:
            metrics = reinforce("ppo", preferences, sft, Path("artifacts/reward"), out, quick, run, Checkpoints())
            store = tracking_store.client()
            rewards = [each.value for each in store.get_metric_history(run.id, "train/held_out_reward")]
            assert len(store.get_metric_history(run.id, "train/kl")) == 4
        assert metrics["kl_first"] == 0.0 and len(rewards) == 5
        assert metrics["best_round"] == rewards.index(max(rewards))
        assert metrics["held_out_reward_best"] == max(rewards) >= metrics["held_out_reward_first"] == rewards[0]
        adapters.append((out / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1] and (adapters[0] != start) == bool(metrics["best_round"])


def test_ppo_without_a_reward_head_is_a_user_error(sft: Path, preferences: Path, quick: Config) -> None:
    with tracking.started("align@ppo", {}) as run, pytest.raises(UserError, match="no reward head"):
        reinforce("ppo", preferences, sft, sft, Path("out"), quick, run, Checkpoints())


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_verdict_needs_no_reward_model(
    sft: Path, preferences: Path, quick: Config, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (preferences / "held_out.jsonl").write_text("")
    quick = online(quick, method, reward={"verdict": 1.0})
    with tracking.started(f"align@{method}", {}) as run:
        metrics = reinforce(method, preferences, sft, None, Path("out"), quick, run, Checkpoints())
    assert metrics["held_out_reward_first"] == metrics["held_out_verdict_first"] == -3.0  # every answer is wrong
    assert metrics["best_round"] == 0.0  # none of them is better than the start
    saved, start = (load_file(each / "adapter_model.safetensors") for each in (Path("out"), sft))
    assert all(torch.equal(saved[name], start[name]) for name in start)
    assert f"align.{method}: no prompt is held out" in capsys.readouterr().err


def test_policy_is_rewarded_by_its_own_start_as_a_judge(sft: Path, preferences: Path, quick: Config) -> None:
    complete(sft, {})
    values = online(quick, "grpo", reward={"judge": 1.0}).model_dump(mode="json")
    values["teacher"]["models"]["own"], values["teacher"]["roles"]["judge"] = {"kind": "artifact", "path": "sft"}, "own"
    values["synthesize"]["prompts"] = str(PROMPTS)
    with tracking.started("align@grpo", {}) as run:
        metrics = reinforce(
            "grpo", preferences, sft, None, Path("out"), Config.model_validate(values), run, Checkpoints()
        )
    assert -1 < metrics["held_out_reward_first"] <= metrics["held_out_reward_best"] < 1
    assert metrics["held_out_reward_first"] not in (-3.0, 0.0)


def test_unhealthy_run_stops_and_keeps_the_best_round(
    sft: Path, preferences: Path, quick: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rewards = {"tests.tasks.test_align:vowels": 1.0}
    health = quick.align.grpo.health.model_copy(update={"max_kl": 1e-3})
    quick = online(quick, "grpo", learning_rate=0.1, kl_target=1e-3, health=health, reward=rewards, iterations=5)
    with tracking.started("align@grpo", {}) as run:
        metrics = reinforce("grpo", preferences, sft, None, Path("out"), quick, run, Checkpoints())
        tags = tracking_store.client().get_run(run.id).data.tags
    assert metrics["stopped_by_kl"] == 1.0 and metrics["rounds"] < 5 and metrics["best_round"] < metrics["rounds"]
    assert "nats per answer, above 0.001 times the target of 0.001; round 0, the best one" in tags["stopped"]
    assert tags["stopped"] in capsys.readouterr().err


def test_alignment_of_a_model_with_trained_weights_adds_an_adapter(
    base: Path, preferences: Path, quick: Config
) -> None:
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
                assert reward(preferences, sft, Path(name), quick.reward, *common, *rest)["held_out_accuracy"] == 1.0
            elif name == "dpo":
                dpo(preferences, sft, Path(name), quick.align.dpo, *common, *rest)
                assert margin(Path("dpo"), quick) > margin(sft, quick) + 0.5
            else:
                metrics = reinforce("ppo", preferences, sft, Path("reward"), Path(name), quick, run, Checkpoints())
                assert metrics["kl_first"] == 0.0
        assert adapters.parent(Path(name)) == sft


def test_unknown_method_is_a_user_error(sft: Path, preferences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in (sft, preferences):
        (directory / "record.json").write_text("{}")
    with pytest.raises(SystemExit) as exit_info:
        main("kto")
    assert exit_info.value.code == 2 and "no alignment method 'kto'" in capsys.readouterr().err
