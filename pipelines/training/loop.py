"""The training loop: planned steps, a schedule, checkpoints and curves around an objective.

Several processes (torch.distributed) each compute a share of every step and hold equal weights.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import torch.distributed as dist
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import nn

from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.training import activations, optimizers, schedules
from pipelines.training.checkpoints import pack, restore_generators, unpack
from pipelines.training.history import History
from pipelines.training.step import Job, Objective, accumulate, averaged, micro_batch_tokens, no_tokens


def fit(
    model: PeftModel,
    objective: Objective,
    plan: Sequence[list[int]],
    job: Job,
    weights: Mapping[str, nn.Parameter] | None = None,
    validate: Callable[[], float] | None = None,
) -> History:
    """Train `weights` (by default the trainable ones of `model`) on the planned steps, in the model's present mode.

    Training resumes from the last checkpoint. If a micro-batch does not fit into the GPU's memory, the step starts
    again with half as many tokens per micro-batch. `validate` returns the validation loss; it is called ten times.
    Of several launched processes, all but rank 0 exit after the last step: only one saves what was trained.

    Raises:
        UserError: nothing is trainable, there is no token to train on, memory is too small for one item, or a loss or
            gradient is not finite.
    """
    weights = weights or {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not weights:
        raise UserError(f"{job.what}: no parameter of the model is trainable; check {job.what}.lora.")
    if not plan:
        raise no_tokens(job)
    settings, device = job.training, model.device
    optimizer = optimizers.create(settings.optimizer, weights.values(), job.learning_rate, settings.weight_decay)
    schedule = schedules.create(settings.schedule, optimizer, len(plan), settings.warmup, settings.decay)
    budget, rows = micro_batch_tokens(settings, device, plan, objective.sizes), []
    if saved := job.checkpoints.latest():
        unpack(saved.tensors, weights, optimizer)
        schedule.load_state_dict(saved.facts["schedule"])
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        restore_generators(saved.tensors)
        budget, rows = saved.facts["micro_batch_tokens"], saved.facts["history"]
    history = History(job.run, job.what, len(plan), job.epochs, validate, rows)
    recompute = activations.worthwhile(settings.checkpointing, model.config, budget, device)
    parameters = list(weights.values())
    if dist.is_initialized():
        for weight in parameters:
            dist.broadcast(weight.data, src=0)
    in_place = disable_input_dtype_casting(model)  # autocast casts; PEFT would first copy every input to float32
    with job.checkpoints.guarded(), in_place, activations.recomputed(model, recompute):
        for number, step in enumerate(plan[len(rows) :], len(rows) + 1):
            sums, budget = accumulate(model, parameters, objective, step, budget, job)
            values = averaged(parameters, sums, settings.max_gradient_norm, job, number)
            optimizer.step()
            optimizer.zero_grad()
            values |= {"learning_rate": float(schedule.get_last_lr()[0]), "micro_batch_tokens": float(budget)}
            schedule.step()
            history.add(values, sum(objective.sizes[item] for item in step))
            facts = {"history": rows, "schedule": schedule.state_dict(), "micro_batch_tokens": budget}
            job.checkpoints.step(number, lambda: (pack(weights, optimizer), facts))  # noqa: B023  # called at once
    history.close()
    if environment.rank():
        sys.exit()
    return history
