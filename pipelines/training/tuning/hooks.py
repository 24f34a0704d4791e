"""What a method of fine-tuning does in the training loop: groups of parameters, a regulariser, and changes by step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import peft
import torch
from torch import Tensor, nn

from pipelines.models.head import Model, base_of
from pipelines.models.tuning.apply import ADAPTER
from pipelines.models.tuning.config import LayersOptions, TuningConfig
from pipelines.models.tuning.peft_methods import LORA_PLUS
from pipelines.models.tuning.selection import layer_names
from pipelines.runtime.errors import UserError
from pipelines.training.step import Loss, Objective


class Method:
    """A method that needs nothing of the loop; the base class of those that do."""

    def groups(self, weights: Mapping[str, nn.Parameter], learning_rate: float) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer."""
        return [{"params": list(weights.values()), "lr": learning_rate}]

    def objective(self, objective: Objective) -> Objective:
        """Return the objective with the method's regulariser."""
        return objective

    def before_step(self, number: int) -> None:
        """Prepare step `number`, the first of which is 1."""

    def after_step(self, number: int) -> None:
        """Follow step `number`, while the gradients still exist."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs besides weights and optimizer."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned from a checkpoint's tensors."""


def method(model: Model, tuning: TuningConfig | None, steps: int) -> Method:
    """Return what the loop has to do for the method in `steps` optimizer steps; None continues a trained adapter.

    Raises:
        UserError: the steps are too few for AdaLoRA's schedule.
    """
    if tuning is None:
        return Method()
    if tuning.method == "adalora":
        assert isinstance(model, peft.PeftModel)
        return AdaLora(model, steps)
    if tuning.method == "layers":
        options = LayersOptions.model_validate(tuning.options)
        if options.gradual:
            return GradualUnfreezing(model, options, steps)
    if LORA_PLUS in tuning.options:
        return LoraPlus(float(tuning.options[LORA_PLUS]))
    return Method()


@dataclass
class LoraPlus(Method):
    """LoRA+ (Hayou et al. 2024, arXiv:2402.12354): B learns faster than A, by the factor `ratio`."""

    ratio: float

    def groups(self, weights: Mapping[str, nn.Parameter], learning_rate: float) -> list[dict[str, Any]]:
        """Return A and B as two groups."""
        faster = [value for name, value in weights.items() if "lora_B" in name]
        others = [value for name, value in weights.items() if "lora_B" not in name]
        return [{"params": others, "lr": learning_rate}, {"params": faster, "lr": learning_rate * self.ratio}]


class GradualUnfreezing(Method):
    """Decoder layers that become trainable one by one from the last to the first (ULMFiT, arXiv:1801.06146)."""

    def __init__(self, model: Model, options: LayersOptions, steps: int) -> None:
        """Plan the step at which each layer begins: evenly over the share `options.gradual` of all steps."""
        base = base_of(model)
        names = layer_names(base, options)[::-1]
        self.layers = [list(base.get_submodule(name).parameters()) for name in names]
        self.starts = [1 + int(options.gradual * steps * at / len(names)) for at in range(len(names))]

    def before_step(self, number: int) -> None:
        """Freeze the layers whose step has not come."""
        for start, parameters in zip(self.starts, self.layers, strict=True):
            for parameter in parameters:
                parameter.requires_grad_(number >= start)


class AdaLora(Method):
    """AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): singular values of little importance are pruned to a budget."""

    def __init__(self, model: peft.PeftModel, steps: int) -> None:
        """Plan the budget over `steps`, of which PEFT's `tinit` and `tfinal` are the first and last.

        Raises:
            UserError: no step is left between them, or no earlier one that measures the importance.
        """
        self.model, self.config = model, model.peft_config[ADAPTER]
        if steps - self.config.tfinal <= max(self.config.tinit, 1):
            raise UserError(
                f"tuning.method is adalora, which prunes after tinit = {self.config.tinit} and before the last tfinal "
                f"= {self.config.tfinal} of {steps} steps; lower tinit and tfinal, or train for more steps."
            )
        self.config.total_step = steps
        self.allocator = model.base_model.rankallocator
        self.allocator.set_total_step(steps)

    def objective(self, objective: Objective) -> Objective:
        """Add the orthogonality of the singular vectors (equation 4)."""
        return Regularised(objective, self)

    def penalty(self) -> Tensor:
        """Return the weighted mean of the norms of P'P - I and QQ' - I over all adapters."""
        norms = [_distance_from_orthogonal(name, value) for name, value in self._vectors()]
        penalty: Tensor = self.config.orth_reg_weight * torch.stack(norms).mean()
        return penalty

    def _vectors(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.model.named_parameters():
            if ("lora_A" in name or "lora_B" in name) and name.endswith(ADAPTER):
                yield name, value

    def after_step(self, number: int) -> None:
        """Update the importance of singular values, and prune them to the budget of the step."""
        self.model.base_model.update_and_allocate(number)

    def state(self) -> dict[str, Tensor]:
        """Return the smoothed importance and uncertainty, and which singular values are kept."""
        state = {f"adalora/{kind}/{name}": value for kind, values in self._averages() for name, value in values.items()}
        pattern: Mapping[str, list[bool]] = self.config.rank_pattern or {}
        return state | {f"adalora/rank/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the importance and the ranks."""
        ranks = {}
        averages = dict(self._averages())
        for entry, value in tensors.items():
            family, _, place = entry.partition("/")
            if family == "adalora":
                kind, _, name = place.partition("/")
                if kind == "rank":
                    ranks[name] = value.tolist()
                else:
                    averages[kind][name] = value.to(self.model.device)
                    self.allocator.ipt[name] = torch.zeros_like(averages[kind][name])
        self.config.rank_pattern = ranks or self.config.rank_pattern

    def _averages(self) -> list[tuple[str, dict[str, Tensor]]]:
        return [("importance", self.allocator.exp_avg_ipt), ("uncertainty", self.allocator.exp_avg_unc)]


def _distance_from_orthogonal(name: str, value: Tensor) -> Tensor:
    product = value @ value.T if "lora_A" in name else value.T @ value
    norm: Tensor = torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device))
    return norm


@dataclass
class Regularised:
    """An objective plus the penalty of AdaLoRA per unit of weight, so that a step of any micro-batches has it once."""

    inner: Objective
    method: AdaLora

    @property
    def sizes(self) -> Sequence[int]:
        """Tokens of each item."""
        return self.inner.sizes

    def __call__(self, model: Any, items: Sequence[int]) -> Loss:
        """Return the loss of a micro-batch."""
        loss, penalty = self.inner(model, items), self.method.penalty()
        metrics = {**loss.metrics, "orthogonality": loss.weight * penalty.detach()}
        return Loss(loss.total + loss.weight * penalty, loss.weight, metrics)
