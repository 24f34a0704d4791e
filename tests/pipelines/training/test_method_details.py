"""What single methods of fine-tuning promise: ranks, masks, frozen layers, virtual tokens, and options that fit."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoConfig, LlamaForCausalLM

from pipelines.config import Config
from pipelines.inference.beam_search import Beams, search
from pipelines.inference.generation import respond
from pipelines.models import adapters, loading, saving
from pipelines.models.devices import autocast
from pipelines.models.head import base_of
from pipelines.models.tuning import preparation, virtual_tokens
from pipelines.models.tuning.apply import original
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel, Preserved
from pipelines.training.step import Job
from pipelines.training.tuning.data import MASK, prepare
from pipelines.training.tuning.hooks import method
from tests.pipelines.training.test_methods import BASE, PLAN, learn, logits, trained
from tests.support.recorder import Recorder
from tests.support.trainings import examples, training

pytestmark = pytest.mark.slow

PROMPTS = [[3, 50, 70, 90, 110, 7, 44, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, end] for end in (21, 22, 23)] + [[5, 9]]
BEAMS = Beams(2, 1.0, 4.0)


def tuned(method: str, **options: Any) -> TuningConfig:
    return TuningConfig(method=method, options=options)


def test_adalora_ends_at_its_target_rank_and_is_stored_as_lora(base: Path, config: Config, tmp_path: Path) -> None:
    tuning = tuned("adalora", init_r=6, target_r=2, tinit=0, tfinal=1, deltaT=1)
    model = learn(tuning, base, config, tmp_path, Checkpoints())
    values = [value for name, value in model.named_parameters() if "lora_E" in name]
    assert sum(int((value != 0).sum()) for value in values) == 2 * len(values)
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    stored = peft.PeftConfig.from_pretrained(tmp_path / "sft")
    assert isinstance(stored, peft.LoraConfig) and sum(stored.rank_pattern.values()) == 2 * len(values)


def test_orthogonality_is_part_of_the_loss_of_adalora(base: Path, config: Config) -> None:
    run = Recorder()
    model = preparation.trainable(base, tuned("adalora", init_r=6, target_r=2), config.compute, BASE)
    job = Job("sft", 1e-2, 1, training(), config.compute, run, Checkpoints())
    hooks = method(model, tuned("adalora"), len(PLAN))
    fit(model, LanguageModel(model, examples(), 0), PLAN, job, None, None, hooks)
    assert min(run.of("orthogonality")) > 0


def test_adalora_needs_a_step_between_its_first_and_last_ones(base: Path, config: Config, tmp_path: Path) -> None:
    for tinit, tfinal in ((2, 2), (0, 3)):
        tuning = tuned("adalora", init_r=6, target_r=2, tinit=tinit, tfinal=tfinal)
        message = f"after tinit = {tinit} and before the last tfinal = {tfinal} of 4 steps; lower"
        with pytest.raises(UserError, match=message):
            learn(tuning, base, config, tmp_path, Checkpoints())


def test_gradual_unfreezing_changes_the_named_layers_at_the_named_steps(base: Path, config: Config) -> None:
    tuning = tuned("layers", last=2, gradual=1.0)
    model = preparation.trainable(base, tuning, config.compute, BASE)
    hooks = method(model, tuning, len(PLAN))
    changed = []
    before = {name: value.clone() for name, value in model.named_parameters()}
    own = hooks.after_step

    def after_step(number: int) -> None:
        own(number)
        different = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
        changed.append({layer for layer in (0, 1) if any(f"layers.{layer}." in name for name in different)})

    hooks.after_step = after_step  # type: ignore[method-assign]
    job = Job("sft", 1e-2, 1, training(warmup=0.0), config.compute, Recorder(), Checkpoints())
    before_training = Preserved.of(loading.load(base, config.compute), examples(), 0, config.compute)
    objective = LanguageModel(model, examples(), 0, before=before_training)
    fit(model, objective, PLAN, job, None, None, hooks)
    assert changed == [{1}, {1}, {0, 1}, {0, 1}]
    assert all("model.layers." in name for name, value in model.named_parameters() if value.requires_grad)


def test_fisher_mask_changes_its_share_of_the_parameters(base: Path, config: Config, tmp_path: Path) -> None:
    start = dict(loading.load(base, config.compute).named_parameters())
    model = learn(tuned("fisher", share=0.01, rows=4), base, config, tmp_path, Checkpoints())
    mask = load_file(tmp_path / MASK)
    share = sum(int(each.sum()) for each in mask.values()) / sum(each.numel() for each in mask.values())
    assert share == pytest.approx(0.01, rel=0.01)
    for name, value in model.named_parameters():
        assert torch.equal(value[~mask[name]], start[name][~mask[name]])
    assert any(not torch.equal(value, start[name]) for name, value in model.named_parameters())


def test_selected_parameters_are_stored_without_the_others(base: Path, config: Config, tmp_path: Path) -> None:
    model = learn(tuned("norms"), base, config, tmp_path, Checkpoints())
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    stored = load_file(tmp_path / "sft" / adapters.WEIGHTS)
    assert stored.keys() == trained(model).keys() and all("norm" in name for name in stored)


def test_biases_are_trained_stored_and_loaded_alone(base: Path, config: Config, tmp_path: Path) -> None:
    biased = AutoConfig.from_pretrained(base)
    biased.attention_bias = True
    LlamaForCausalLM(biased).save_pretrained(base)
    model = learn(tuned("bias"), base, config, tmp_path, Checkpoints())
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    stored, start = load_file(tmp_path / "sft" / adapters.WEIGHTS), load_file(base / "model.safetensors")
    assert len(stored) == 2 * 4 and all(name.endswith("_proj.bias") for name in stored)
    assert all(not torch.equal(value, start[name]) for name, value in stored.items() if "k_proj" not in name)
    torch.testing.assert_close(logits(loading.load(tmp_path / "sft", config.compute)), logits(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
def test_virtual_tokens_compute_what_pefts_own_forward_does(kind: str, base: Path, config: Config) -> None:
    model = preparation.trainable(base, tuned(kind, num_virtual_tokens=4), config.compute, BASE)
    assert isinstance(model, peft.PeftModel)
    for value in model.prompt_encoder.parameters():
        torch.nn.init.normal_(value, std=0.5)
    ids = torch.tensor(PROMPTS[:2])
    found = logits_of(model, ids)
    tokens = virtual_tokens.of(model)
    assert tokens is not None
    tokens.decoder.forward = tokens.own
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = base_of(model)(input_ids=ids).logits
    return values


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning", "lily"])
def test_decoding_with_a_shared_prefix_equals_decoding_one_by_one(
    kind: str, base: Path, config: Config, tmp_path: Path
) -> None:
    options = {"r": 4, "target_modules": ["q_proj"]} if kind == "lily" else {"num_virtual_tokens": 4}
    model = learn(tuned(kind, **options), base, config, tmp_path, Checkpoints())
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    loaded, tok = loading.load(tmp_path / "sft", config.compute), loading.tokenizer(base)
    together = dict(respond(loaded, tok, PROMPTS, [2], 6, None, batch_size=4))
    beams = {place: answer for place, answer, _ in search(loaded, tok, PROMPTS, [2], 6, BEAMS, batch_size=4)}
    for place, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        for token in together[place]:
            assert token == int(logits_of(loaded, ids)[0, -1].argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        ((_, alone, _),) = search(loaded, tok, [prompt], [2], 6, BEAMS, batch_size=1)
        assert beams[place] == alone


@pytest.mark.parametrize("kind", ["prompt_tuning", "bottleneck", "ia3"])
def test_original_computes_as_the_base_model(kind: str, base: Path, config: Config, tmp_path: Path) -> None:
    model = learn(tuned(kind), base, config, tmp_path, Checkpoints())
    expected = logits(loading.load(base, config.compute))
    with original(model) as before:
        torch.testing.assert_close(logits(before), expected, atol=1e-6, rtol=0)
    assert (logits(model) - expected).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["layers", "bottleneck"])
def test_an_adapter_is_trained_on_a_delta_and_on_bottleneck_adapters(
    kind: str, base: Path, config: Config, tmp_path: Path
) -> None:
    tok, options = loading.tokenizer(base), {"last": 1} if kind == "layers" else {"size": 8}
    below = learn(tuned(kind, **options), base, config, tmp_path, Checkpoints())
    saving.save(below, tok, tmp_path / "sft", base)
    model = preparation.peft_adaptable(tmp_path / "sft", tuned("lora", r=4), config.compute)
    torch.testing.assert_close(logits(model), logits(below), atol=1e-5, rtol=0)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    saving.save_adapter(model, tok, tmp_path / "dpo")
    found = loading.load(tmp_path / "dpo", config.compute)
    torch.testing.assert_close(logits(found), logits(model), atol=1e-5, rtol=0)
    assert [each.name for each in adapters.lineage(tmp_path / "dpo")[1]] == ["sft", "dpo"]


@pytest.mark.parametrize(
    ("start", "kind", "message"),
    [
        ("loftq", "none", "loftq, which needs base.quantization: nf4"),
        ("loftq", "nf4", "loftq, which PEFT computes only on a GPU"),
        ("pissa", "nf4", "pissa, which needs base.quantization: none"),
    ],
)
def test_an_initialisation_that_does_not_fit_the_weights_is_refused_before_they_are_loaded(
    start: str, kind: str, message: str, config: Config, tmp_path: Path
) -> None:
    quantised = BASE.model_copy(update={"quantization": kind})
    with pytest.raises(UserError, match=message):
        preparation.trainable(tmp_path, tuned("lora", init_lora_weights=start), config.compute, quantised)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lara", {}, "there is no method lara; use full, layers"),
        ("lora", {"rank": 8}, "the method lora has no option rank; PEFT knows .*r,"),
        ("lora", {"r": 0}, "r is 0, and must be an integer of at least 1"),
        ("lora", {"r": "8"}, "r is '8', and must be an integer of at least 1"),
        ("lora", {"lora_alpha": "1e1"}, "lora_alpha is '1e1', and must be a number"),
        ("lora", {"init_lora_weights": "corda"}, "init_lora_weights is corda; true, false"),
        ("lora", {"init_lora_weights": "pissa", "use_dora": True}, "init_lora_weights is pissa.* remove use_dora"),
        ("lora", {"init_lora_weights": "olora", "bias": "lora_only"}, "init_lora_weights is olora.* remove bias"),
        ("lora", {"init_lora_weights": "pissa", "lora_bias": True}, "init_lora_weights is pissa.* remove lora_bias"),
        ("lora", {"alora_invocation_tokens": [1]}, "lora takes no alora_invocation_tokens here, because PEFT finds"),
        ("lora", {"kasa_config": {}}, "lora takes no kasa_config here, because it truncates the weights"),
        ("lora", {"layer_replication": [[0, 2], [1, 2]]}, "lora takes no layer_replication here, because it adds"),
        ("lora", {"layers_to_transform": [0]}, "layers_to_transform needs target_modules as a list"),
        ("adalora", {"r": 32, "lora_alpha": 64}, "adalora takes no r here, .* init_r and target_r: set these"),
        ("adalora", {"init_r": 8}, "init_r is 8 and target_r 8; .* init_r must be larger"),
        ("adalora", {"init_lora_weights": "pissa"}, "pissa; true, false are supported by adalora"),
        ("multitask_prompt_tuning", {"num_tasks": 2}, "takes no num_tasks here, because rows name no task"),
        ("layers", {}, "set exactly one of last, first and names"),
        ("layers", {"names": ["*.norm"]}, r"'\*\.norm' is not a regular expression: nothing to repeat"),
        ("layers", {"names": ["norm"], "gradual": 0.5}, "gradual unfreezing goes by decoder layer"),
        ("fisher", {"share": 2.0}, "options of fisher: share: Input should be less than 1"),
        ("bottleneck", {"width": 8}, "options of bottleneck: width: Extra inputs are not permitted"),
        ("xlora", {}, "not supported, because it mixes trained adapters"),
        ("prompt_tuning", {"prompt_tuning_init": "TEXT"}, "options of prompt_tuning: When prompt_tuning_init"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_parameters(
    kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TuningConfig(method=kind, options=options)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (tuned("lora", target_modules=["query"]), "tuning.method lora does not fit LlamaForCausalLM: Target modules"),
        (tuned("lora", target_modules="*.q_proj"), "lora does not fit LlamaForCausalLM: nothing to repeat"),
        (tuned("bias"), "tuning.method is bias, and LlamaForCausalLM has no such parameter"),
        (tuned("layers", last=3), "selects 3 of 2 layers"),
        (tuned("layers", names=["experts"]), "no parameter matches 'experts'"),
    ],
)
def test_methods_that_do_not_fit_the_model_are_refused(
    tuning: TuningConfig, message: str, base: Path, config: Config
) -> None:
    with pytest.raises(UserError, match=message):
        preparation.trainable(base, tuning, config.compute, BASE)


def test_an_adapter_for_another_size_is_a_user_error(base: Path, config: Config, tmp_path: Path) -> None:
    for kind, options in (("lora", {"r": 4}), ("prefix_tuning", {}), ("bottleneck", {"size": 8})):
        out = tmp_path / kind
        model = preparation.trainable(base, tuned(kind, **options), config.compute, BASE)
        saving.save(model, loading.tokenizer(base), out, base)
        stored = load_file(out / adapters.WEIGHTS)
        larger = {name: value.repeat(*[2] * value.dim()) for name, value in stored.items()}
        saving._write(larger, out)
        with pytest.raises(UserError, match=r"(does|do) not fit"):
            loading.load(out, config.compute)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lora", {"r": 4}),
        ("lora", {"r": 4, "alpha_pattern": {"q_proj": 32, "down_proj": 2}}),
        ("adalora", {"init_r": 4, "target_r": 2}),
        ("layers", {"last": 1}),
    ],
    ids=["lora", "alpha_pattern", "adalora", "layers"],
)
def test_a_scaled_update_is_stored_scaled(
    kind: str, options: dict[str, Any], base: Path, config: Config, tmp_path: Path
) -> None:
    model = learn(tuned(kind, **options), base, config, tmp_path, Checkpoints())
    whole = logits(model)
    saving.keep_share(model, 0.5, base)
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    found = logits(loading.load(tmp_path / "sft", config.compute))
    torch.testing.assert_close(found, logits(model), atol=1e-5, rtol=0)
    assert (found - whole).abs().max() > 1e-4


def test_a_scaled_update_needs_a_method_that_can_be_scaled(config: Config) -> None:
    values = config.sft.model_dump(mode="json")
    unscaled: list[dict[str, Any]] = [{"method": "ia3", "options": {}}]
    unscaled += [
        {"method": "lora", "options": options}
        for options in (
            {"init_lora_weights": "pissa"},
            {"use_dora": True},
            {"bias": "lora_only"},
            {"modules_to_save": ["lm_head"]},
            {"trainable_token_indices": [1]},
        )
    ]
    for tuning in unscaled:
        with pytest.raises(ValidationError, match="and the update of"):
            type(config.sft).model_validate(values | {"tuning": tuning})
        type(config.sft).model_validate(values | {"tuning": tuning, "adapter_scale": 1.0})


def test_lora_plus_belongs_to_lora() -> None:
    assert tuned("lora", r=4, loraplus_lr_ratio=16.0).options["loraplus_lr_ratio"] == 16.0
    for kind in ("adalora", "randlora"):
        with pytest.raises(ValidationError, match=f"the method {kind} has no option loraplus_lr_ratio"):
            tuned(kind, loraplus_lr_ratio=16.0)


def test_eva_adapters_are_trained_in_float32(base: Path, config: Config, tmp_path: Path) -> None:
    compute = config.compute.model_copy(update={"precision": "bf16"})
    tuning = tuned("lora", r=2, init_lora_weights="eva")
    model = preparation.trainable(base, tuning, compute, BASE)
    rows = [row for row in examples() if not row.rehearsed]
    job = Job("sft", 1e-2, 1, training(), compute, Recorder(), Checkpoints())
    with autocast(compute, model.device):
        prepare(model, tuning, LanguageModel(model, rows, 0), PLAN, job, tmp_path)
    assert {value.dtype for value in model.parameters() if value.requires_grad} == {torch.float32}


@pytest.mark.parametrize("kind", ["norms", "lora"])
def test_nf4_layers_stay_differentiable_with_every_method(
    kind: str, base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    quantised = BASE.model_copy(update={"quantization": "nf4"})
    model = preparation.trainable(base, tuned(kind), config.compute, quantised)
    flags = [vars(each)["support_avx512bf16_for_cpu"] for each in model.modules() if isinstance(each, Linear4bit)]
    assert len(flags) == 14 and not any(flags)
