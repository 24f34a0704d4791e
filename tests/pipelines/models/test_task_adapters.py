"""Task adapters: held beside one base model, combined as PEFT combines them, and measured against each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines import artifacts
from pipelines.config import Config
from pipelines.inference.chat_model import ChatModel
from pipelines.models import adapters, loading, saving
from pipelines.models.task_adapters import combination, interference, store
from pipelines.models.task_adapters.config import CombineConfig
from pipelines.models.task_adapters.held import HeldAdapters
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.models.tuning.updates import Update
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

IDS = torch.tensor([[3, 50, 70, 90, 110]])
QUERIES: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
METHODS = [
    *("cat", "svd", "linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"),
    *("ties_svd", "dare_linear_svd", "dare_ties_svd", "magnitude_prune_svd"),
]


def kept(name: str, base: Path, config: Config, seed: int, method: str = "lora", **options: Any) -> Path:
    """Keep an adapter of random values in data/adapters."""
    model = preparation.trainable(base, TuningConfig(method=method, options=options), config.compute, config.base)
    torch.manual_seed(seed)
    for each in model.parameters():
        if each.requires_grad:
            torch.nn.init.normal_(each, std=0.2)
    source = artifacts.fresh("sft")
    saving.save(model, loading.tokenizer(base), source, base)
    artifacts.complete(source, {"stage": "sft", "metrics": {"loss": 1.0}})
    store.check(source, name, replace=False)
    return store.copy(source, name, {"commit": "none"})


def wanted(weights: Mapping[str, float], method: str = "cat", density: float = 0.5) -> CombineConfig:
    return CombineConfig.model_validate({"adapters": dict(weights), "method": method, "density": density})


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits
    return found


def dense(factors: combination.Factors) -> dict[str, torch.Tensor]:
    return {name: combination.matrix(update) for name, update in factors.items()}


def alternating(shares: torch.Tensor) -> torch.Tensor:
    """Return a mask of ones and zeros in turn, instead of a random one."""
    return (torch.arange(shares.numel()) % 2).view(shares.shape).to(shares.dtype)


def test_held_adapters_answer_as_loaded_ones_and_share_one_base(base: Path, config: Config) -> None:
    places = [
        kept("lora", base, config, 1, r=4, lora_alpha=8),
        kept("tax", base, config, 2, r=8, use_rslora=True),
        kept("dora", base, config, 3, r=4, use_dora=True),
        kept("scaled", base, config, 4, "ia3"),
        kept("layer", base, config, 5, "layers", last=1),
    ]
    held = HeldAdapters(config.compute)
    first = held.model(places[0])
    assert held.model(places[1]) is first and held.model(places[2]) is first
    decoding = {"do_sample": False, "max_new_tokens": 12}
    switched = ChatModel(base, base, config.compute, decoding)
    texts = set()
    for place in [*places, *reversed(places)]:
        torch.testing.assert_close(
            logits(held.model(place)), logits(loading.load(place, config.compute)), atol=1e-4, rtol=0
        )
        switched.switch(place, decoding)
        question: list[Any] = [{"role": "user", "content": "Who restored the mill?"}]
        text = switched.answer(question)
        assert text == ChatModel(place, place, config.compute, decoding).answer(question)
        texts.add(text)
    assert len(texts) > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "weights", [{"legal": 1.0, "tax": 0.5}, {"legal": 0.7, "tax": -0.3}], ids=["sum", "difference"]
)
def test_combination_is_that_of_peft(
    method: str, weights: dict[str, float], base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "bernoulli", alternating)  # PEFT draws other numbers before those of DARE
    for seed, name in enumerate(weights):
        kept(name, base, config, seed, **QUERIES)
    settings = wanted(weights, method)
    found, kind = combination.load(settings, base)
    assert kind == "none"
    ours = dense(combination.combined(found, settings, config.compute))

    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.PeftModel.from_pretrained(model, "data/adapters/legal", adapter_name="legal")
    adapted.load_adapter("data/adapters/tax", adapter_name="tax")
    adapted.add_weighted_adapter(
        *(list(weights), list(weights.values()), "both"), method, svd_full_matrices=False, density=0.5
    )
    assert len(ours) == 2
    for name, value in ours.items():
        layer = adapted.base_model.model.get_submodule(name.removesuffix(".weight"))
        torch.testing.assert_close(value, layer.get_delta_weight("both"), atol=1e-5, rtol=1e-4)


def test_interference_of_equal_and_opposite_updates(config: Config) -> None:
    down, up = torch.randn(2, 6), torch.randn(5, 2)
    same, opposite = {"w": Update(down, up, 0.5)}, {"w": Update(down, -up, 2.0)}
    assert interference.cosine(same, same) == pytest.approx(1)
    assert interference.cosine(same, opposite) == pytest.approx(-1)
    assert interference.sign_conflicts(same, same, config.compute) == 0
    assert interference.sign_conflicts(same, opposite, config.compute) == 1
    assert interference.cosine(same, {"v": same["w"]}) == 0


def test_what_cannot_be_combined_is_named(base: Path, config: Config) -> None:
    kept("legal", base, config, 1, **QUERIES)
    kept("wide", base, config, 2, r=8, target_modules=["q_proj"])
    kept("dora", base, config, 3, r=4, use_dora=True)
    kept("layer", base, config, 4, "layers", last=1)

    def fails(weights: Mapping[str, float], message: str, method: str = "cat") -> None:
        with pytest.raises(UserError, match=message):
            combination.load(wanted(weights, method), base)

    fails({}, r"combine\.adapters is empty")
    fails({"legal": 1, "nobody": 1}, "There is no adapter 'nobody': there are dora, layer, legal, wide")
    fails({"legal": 1, "dora": 1}, "data/adapters/dora is not plain LoRA.* merged weights")
    fails({"legal": 1, "layer": 1}, "data/adapters/layer is not plain LoRA.* merged weights")
    fails({"legal": 1, "wide": 1}, "needs equal ranks.* legal has rank 4 and wide 8; use cat or svd", "ties")
    config_file = store.find("wide") / adapters.BASE
    artifacts.write_json(config_file, artifacts.read_json(config_file) | {"quantization": "nf4"})
    fails({"legal": 1, "wide": 1}, r"differently quantised weights \(none, nf4\)")
    artifacts.write_json(config_file, artifacts.read_json(config_file) | {"sha256": "0" * 64})
    fails({"legal": 1, "wide": 1}, "trained on other weights than artifacts/base has now")
    for density in (0.0, 1.1):
        with pytest.raises(ValueError, match="density"):
            wanted({"legal": 1}, density=density)
    with pytest.raises(ValueError, match="adapters"):
        wanted({"../legal": 1})


def test_only_adapters_on_the_base_are_kept_under_free_names(base: Path, config: Config) -> None:
    kept("legal", base, config, 1, **QUERIES)
    source = Path("artifacts/sft")
    for name, at, message in (
        ("legal", source, "data/adapters/legal exists; .*--replace"),
        ("a b", source, "not a name"),
        ("base", base, "artifacts/base has a whole model, and only adapters are kept"),
    ):
        with pytest.raises(UserError, match=message):
            store.check(at, name, replace=False)
    store.check(source, "legal", replace=True)
    store.copy(source, "legal", {"commit": "other"})
    assert artifacts.record(store.find("legal"))["origin"] == {"commit": "other"}
    adapters.move_base(source, Path("artifacts/pretrain"))
    with pytest.raises(UserError, match="is on artifacts/pretrain, and only adapters on artifacts/base are kept"):
        store.check(source, "other", replace=False)
    Path("data/adapters/tax.dvc").touch()
    with pytest.raises(UserError, match=r"dvc pull data/adapters/tax\.dvc"):
        store.find("tax")
