"""Several adapters on one backbone: none changes another or loses its gradients."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch

from pipelines.alignment.backbone import (
    POLICY,
    REFERENCE,
    REWARD,
    VALUE,
    Backbone,
    clone,
    named_weights,
    scalar_head,
    train_only,
    using,
)
from pipelines.alignment.process.step_reward import StepCrossEntropy, StepExample, step_logits
from pipelines.alignment.process.steps import Solution
from pipelines.alignment.reward_model import BradleyTerry
from pipelines.alignment.rl.steps import step
from pipelines.alignment.sequences import Turn, collate
from pipelines.config import Config
from pipelines.models import devices, loading, saving
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from tests.pipelines.alignment.conftest import LORA, gradients

pytestmark = pytest.mark.slow


def flags(backbone: Backbone) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in backbone.model.named_parameters()}


def test_switching_adapters_changes_outputs_but_not_requires_grad(backbone: Backbone, turns: list[Turn]) -> None:
    batch, before = collate(turns, backbone.tok.pad_token_id, backbone.device), flags(backbone)
    hidden = {}
    for name in (POLICY, REFERENCE, VALUE, REWARD):
        with using(backbone.model, name):
            assert flags(backbone) == before
            hidden[name] = backbone.hidden(batch).detach()
    assert torch.equal(hidden[POLICY], hidden[REFERENCE])
    assert not torch.allclose(hidden[POLICY], hidden[VALUE], atol=1e-3)
    assert not torch.allclose(hidden[REWARD], hidden[VALUE], atol=1e-3)
    with pytest.raises(KeyError), using(backbone.model, VALUE):
        raise KeyError
    assert backbone.model.active_adapter == POLICY and flags(backbone) == before
    assert {name for name, flag in before.items() if flag} == {
        name for name in before if f".{POLICY}." in name or f".{VALUE}." in name
    }


def test_modules_named_like_an_adapter_do_not_belong_to_it() -> None:
    class Named(torch.nn.Module):
        def named_parameters(self, *_: object, **__: object) -> Iterator[tuple[str, torch.nn.Parameter]]:
            weight = torch.nn.Parameter(torch.zeros(1))
            for name in ("at.value.lora_A.default.weight", "attention.value.weight", "query.lora_B.value.weight"):
                yield name, weight

        def __init__(self) -> None:
            super().__init__()
            self.peft_config = {VALUE: peft.LoraConfig()}
            self.base_model = SimpleNamespace(prefix="lora_")

    assert list(named_weights(Named(), VALUE)) == ["query.lora_B.value.weight"]


def test_gradients_are_equal_after_a_switch_before_backward(backbone: Backbone, turns: list[Turn]) -> None:
    batch = collate(turns, backbone.tok.pad_token_id, backbone.device)
    found = []
    for switched in (False, True):
        with using(backbone.model, POLICY):
            loss = backbone.policy(batch, 1.0)[0].sum()
        with using(backbone.model, VALUE if switched else POLICY):
            loss.backward()
        found.append(gradients(named_weights(backbone.model, POLICY).values()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_step_without_gradients_raises(backbone: Backbone, turns: list[Turn]) -> None:
    batch = collate(turns, backbone.tok.pad_token_id, backbone.device)
    optimizer = torch.optim.Adam(list(named_weights(backbone.model, POLICY).values()))
    with using(backbone.model, VALUE):
        backbone.policy(batch, 1.0)[0].sum().backward()
    with pytest.raises(RuntimeError, match="no weight of the adapter got a gradient"):
        step(optimizer, named_weights(backbone.model, POLICY).values())


def test_step_that_would_train_the_head_alone_raises(backbone: Backbone, turns: list[Turn]) -> None:
    batch, head = collate(turns, backbone.tok.pad_token_id, backbone.device), scalar_head(backbone.model)
    torch.nn.init.ones_(head.weight)
    adapter = named_weights(backbone.model, VALUE)
    optimizer = torch.optim.Adam([*adapter.values(), *head.parameters()])
    with using(backbone.model, POLICY):
        backbone.values(batch, head).sum().backward()
    assert head.weight.grad is not None
    with pytest.raises(RuntimeError, match="no weight of the adapter got a gradient"):
        step(optimizer, adapter.values())


def test_step_trains_the_parameters_that_were_used(backbone: Backbone) -> None:
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.Adam([used, unused], lr=0.1)
    used.sum().backward()
    step(optimizer, [used, unused])
    assert torch.allclose(used, torch.tensor(0.9)) and torch.equal(unused, torch.ones(2))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_adapter_with_a_subtracted_start_is_switched_with_it(
    base: Path, config: Config, turns: list[Turn], tmp_path: Path, start: str
) -> None:
    """The policy begins as the base model, is trained, and is saved as what it computes; its copies stay."""
    tok, options = loading.tokenizer(base), {"r": 4, "lora_alpha": 8, "init_lora_weights": start}
    tuning = TuningConfig(method="lora", options=options)
    backbone = Backbone(preparation.peft_adaptable(base, tuning, config.compute), tok, config.compute)
    for name in (REFERENCE, VALUE):
        clone(backbone.model, POLICY, name)
    train_only(backbone.model, [POLICY, VALUE])

    def logprobs(name: str) -> torch.Tensor:
        with using(backbone.model, name):
            return backbone.policy(collate(turns, tok.pad_token_id, backbone.device), 1.0)[0]

    with torch.no_grad(), backbone.model.disable_adapter():
        original = backbone.policy(collate(turns, tok.pad_token_id, backbone.device), 1.0)[0]
    for name in (REFERENCE, VALUE, POLICY):
        torch.testing.assert_close(logprobs(name), original, atol=1e-5, rtol=0)
    logprobs(POLICY).sum().backward()
    optimizer = torch.optim.Adam(named_weights(backbone.model, POLICY).values(), lr=0.05)
    step(optimizer, named_weights(backbone.model, POLICY).values())
    trained = logprobs(POLICY).detach()
    assert not torch.allclose(trained, original, atol=0.1)
    torch.testing.assert_close(logprobs(REFERENCE), original, atol=1e-5, rtol=0)
    saving.save_adapter(backbone.model, tok, tmp_path / "policy")
    loaded = Backbone(preparation.peft_adaptable(tmp_path / "policy", None, config.compute), tok, config.compute)
    found, _ = loaded.policy(collate(turns, tok.pad_token_id, backbone.device), 1.0)
    torch.testing.assert_close(found.detach(), trained, atol=1e-4, rtol=0)


def test_gradients_equal_those_of_a_model_with_one_adapter(
    backbone: Backbone, turns: list[Turn], base: Path, config: Config
) -> None:
    batch = collate(turns, backbone.tok.pad_token_id, backbone.device)
    single = Backbone(preparation.adaptable(base, LORA, config.compute), backbone.tok, config.compute)
    ours, theirs = (list(named_weights(one.model, POLICY).values()) for one in (backbone, single))
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            other.copy_(mine)
    for one in (backbone, single):
        one.policy(batch, 0.7)[0].sum().backward()
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_clone_is_equal_and_then_independent(backbone: Backbone, turns: list[Turn]) -> None:
    batch = collate(turns, backbone.tok.pad_token_id, backbone.device)
    clone(backbone.model, VALUE, "copy")

    def logprobs(name: str) -> torch.Tensor:
        with using(backbone.model, name), torch.no_grad():
            return backbone.policy(batch, 1.0)[0]

    before = logprobs(VALUE)
    assert torch.equal(logprobs("copy"), before)
    with torch.no_grad():
        next(iter(named_weights(backbone.model, VALUE).values())).add_(1.0)
    assert torch.equal(logprobs("copy"), before) and not torch.equal(logprobs(VALUE), before)


def test_logprobs_of_the_response_equal_those_of_a_full_forward_pass(backbone: Backbone, turns: list[Turn]) -> None:
    batch = collate(turns, backbone.tok.pad_token_id, backbone.device)
    with torch.no_grad():
        found, spread = backbone.policy(batch, 0.7, with_entropy=True)
        for row, (prompt, response) in enumerate(turns):
            logits = backbone.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / 0.7
            wanted = torch.distributions.Categorical(logits=logits)
            count = len(response)
            torch.testing.assert_close(found[row, :count], wanted.log_prob(torch.tensor(response)), atol=1e-4, rtol=0)
            torch.testing.assert_close(spread[row, :count], wanted.entropy(), atol=1e-4, rtol=0)
            assert not found[row, count:].any()


def test_results_do_not_depend_on_padding_batch_or_order(backbone: Backbone, turns: list[Turn]) -> None:
    head, pad = scalar_head(backbone.model), backbone.tok.pad_token_id
    torch.nn.init.normal_(head.weight)

    def measure(chosen: list[Turn]) -> list[torch.Tensor]:
        batch = collate(chosen, pad, backbone.device)
        with torch.no_grad():
            return [backbone.policy(batch, 0.7)[0], backbone.values(batch, head), backbone.scores(batch, head)]

    together, reverse = measure(turns), measure(turns[::-1])
    for row, turn in enumerate(turns):
        for whole, back, one in zip(together, reverse, measure([turn]), strict=True):
            size = one[0].numel()
            for other in (whole[row], back[len(turns) - 1 - row]):
                torch.testing.assert_close(other.flatten()[:size], one[0].flatten(), atol=1e-4, rtol=0)


def test_heads_and_their_losses_are_float32_inside_autocast(backbone: Backbone, turns: list[Turn]) -> None:
    compute = backbone.compute.model_copy(update={"precision": "bf16"})
    half, head = Backbone(backbone.model, backbone.tok, compute), scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(5))
    batch, solutions = collate(turns, half.tok.pad_token_id, half.device), [Solution(*turns[0], [0, 2])]
    pairs = list(zip(turns[:2], turns[2:4], strict=True))

    def outputs() -> list[torch.Tensor]:
        pair_loss = BradleyTerry(half, head, pairs, [0.0, 0.0], 0.1)(half.model, [0, 1]).total
        step_loss = StepCrossEntropy(half, head, [StepExample(solutions[0], [0.0, 1.0])])(half.model, [0]).total
        scalars = [half.scores(batch, head), half.values(batch, head), step_logits(half, head, solutions)]
        return [*scalars, pair_loss, step_loss]

    with torch.no_grad():
        plain = outputs()
        with devices.autocast(compute, half.device):
            nested = outputs()
    for one, other in zip(nested, plain, strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)


def test_score_is_computed_at_the_end_of_turn(backbone: Backbone, turns: list[Turn]) -> None:
    head = scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight)
    with torch.no_grad():
        scores = backbone.scores(collate(turns, backbone.tok.pad_token_id, backbone.device), head)
        for score, (prompt, response) in zip(scores, turns, strict=True):
            states = backbone.model.get_base_model().model(torch.tensor([prompt + response])).last_hidden_state
            torch.testing.assert_close(score, head(states[0, -1])[0], atol=1e-4, rtol=0)
