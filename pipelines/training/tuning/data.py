"""Methods of fine-tuning that look at training rows before the first step: FISH masks and EVA."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora.eva import initialize_lora_eva_weights
from safetensors.torch import save_file
from torch import Tensor

from pipelines.models.devices import autocast
from pipelines.models.head import Model, base_of, in_eval_mode
from pipelines.models.tuning.config import EVA, FisherOptions, TuningConfig
from pipelines.runtime.progress import track
from pipelines.training.examples import Example
from pipelines.training.objectives import LanguageModel, padded
from pipelines.training.step import Job
from pipelines.training.tuning.hooks import Method, method

MASK = "mask.safetensors"
"""Which parameters a FISH mask trains, as booleans by name."""
_EVA_ROWS = 16  # of one batch


def prepare(
    model: Model, tuning: TuningConfig, objective: LanguageModel, plan: Sequence[list[int]], job: Job, out: Path
) -> Method:
    """Initialise what depends on training rows, for most methods nothing; return what the loop has to do.

    A mask is stored in the folder `out`.
    """
    if tuning.method == "fisher":
        mask = fisher_mask(model, objective, FisherOptions.model_validate(tuning.options), job)
        save_file({name: each.cpu() for name, each in mask.items()}, out / MASK)
        for name, value in model.named_parameters():
            value.register_hook(partial(torch.mul, mask[name]))
    elif tuning.options.get("init_lora_weights") == EVA:
        assert isinstance(model, peft.PeftModel)
        _initialise_by_activations(model, objective)
    return method(model, tuning, len(plan))


def fisher_mask(model: Model, objective: LanguageModel, options: FisherOptions, job: Job) -> dict[str, Tensor]:
    """Return which parameters have the largest diagonal entries of the empirical Fisher information matrix.

    An entry is the mean square of the gradient of a row's loss (Sung et al. 2021, arXiv:2111.09839, equation 4, with
    the labels of the rows).
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    squares = {name: torch.zeros_like(value) for name, value in parameters.items()}
    generator = torch.Generator().manual_seed(job.compute.seed)
    order = torch.randperm(len(objective.rows), generator=generator)[: options.rows].tolist()
    with in_eval_mode(model):
        for row in track(order, f"{job.what}: rows for the Fisher information", len(order)):
            with autocast(job.compute, model.device):
                loss = objective(model, [row])
            loss.total.backward()  # type: ignore[no-untyped-call]
            for name, value in parameters.items():
                if value.grad is not None:
                    squares[name] += value.grad.square()
                    value.grad = None
    everything = torch.cat([each.flatten() for each in squares.values()])
    kept = max(1, int(options.share * len(everything)))
    threshold = everything.kthvalue(len(everything) - kept + 1).values
    return {name: (each >= threshold) & (each > 0) for name, each in squares.items()}


def _initialise_by_activations(model: peft.PeftModel, objective: LanguageModel) -> None:
    """Initialise A by singular vectors of the layers' inputs, and spread ranks by explained variance (EVA).

    Paischer et al. 2024, arXiv:2410.07170.
    """

    def forward(_: Any, batch: dict[str, Tensor]) -> None:
        base_of(model).get_decoder()(**batch, use_cache=True)  # a fused layer has no inputs that EVA sees

    with in_eval_mode(model), torch.no_grad():
        batches = list(_batches(objective.rows, objective.pad, model.device))
        initialize_lora_eva_weights(model, batches, forward_fn=forward, show_progress_bar=False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # PEFT creates the new ranks in the precision of the model


def _batches(rows: Sequence[Example], pad: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    size = min(_EVA_ROWS, len(rows))  # EVA needs batches of one size
    for start in range(0, len(rows) - size + 1, size):
        ids = [row.ids for row in rows[start : start + size]]
        mask = padded([[1] * len(each) for each in ids], 0)
        yield {"input_ids": padded(ids, pad).to(device), "attention_mask": mask.to(device)}
