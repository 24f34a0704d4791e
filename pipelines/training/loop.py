"""The training loop: planned steps, a schedule, checkpoints, early stopping and curves around an objective.

Several processes (torch.distributed) each compute a share of every step and hold equal weights.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipelines.models.head import Model
from pipelines.models.parallel import sharding
from pipelines.models.tuning.apply import without_input_casts
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.training import activations, optimizers, schedules
from pipelines.training.checkpoints import pack, restore_generators, unpack
from pipelines.training.monitoring.history import History, Validate
from pipelines.training.monitoring.utilization import utilization
from pipelines.training.step import (
    Job,
    Objective,
    accumulate,
    averaged,
    equalise,
    micro_batch_tokens,
    no_tokens,
    of_rank_0,
)
from pipelines.training.tuning.hooks import Method


def fit(
    model: Model,
    objective: Objective,
    plan: Sequence[list[int]],
    job: Job,
    weights: Mapping[str, nn.Parameter] | None = None,
    validate: Validate | None = None,
    method: Method | None = None,
) -> History:
    """Train `weights` (by default the trainable ones of `model`) on the planned steps, in the model's present mode.

    Training resumes from the last checkpoint. If a micro-batch does not fit into the GPU's memory, the step starts
    again with half as many tokens per micro-batch. `validate` returns metrics; it is called ten times. With
    `training.patience`, training stops early, and the weights of the best validation are restored. `method` is what a
    method of fine-tuning does at each step. Of several launched processes, all but rank 0 exit after the last step:
    only one saves what was trained, which it then has as a whole.

    Raises:
        UserError: nothing is trainable, there is no token to train on, memory is too small for one item, a loss or
            gradient is not finite, or early stopping of a sharded model has no folder of checkpoints.
    """
    weights = weights or {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    _check(weights, plan, job)
    settings, method = job.training, method or Method()
    objective = method.objective(objective)
    optimizer, schedule = _optimizer(weights, len(plan), job, method)
    tokens = micro_batch_tokens(settings, model.device, plan, objective.sizes)
    facts: dict[str, Any] = {"history": [], "validations": [], "micro_batch_tokens": tokens}
    facts |= _resumed(job, weights, optimizer, schedule, method)
    rows, budget = facts["history"], facts["micro_batch_tokens"]
    history = History(job, len(plan), validate, rows, facts["validations"], utilization(model, job.compute))
    stable_end = schedules.stable_steps(settings.schedule, len(plan), settings.decay) if job.stable else None
    parameters = list(weights.values())
    equalise(parameters)
    unallocated = optimizers.unallocated(settings.optimizer, optimizer)
    recomputes = activations.wanted(model, settings.checkpointing, budget, unallocated)
    recompute = activations.recomputed(model, of_rank_0(recomputes))  # layers of a sharded model are gathered together
    with job.checkpoints.guarded(), without_input_casts(model), recompute:
        for number, step in enumerate(plan[len(rows) :], len(rows) + 1):
            if history.exhausted():
                break
            method.before_step(number)
            sums, budget = accumulate(model, parameters, objective, step, budget, job)
            values = averaged(parameters, sums, settings.max_gradient_norm, job, number)
            optimizer.step()
            method.after_step(number)
            optimizer.zero_grad()
            values |= {"learning_rate": float(schedule.get_last_lr()[0]), "micro_batch_tokens": float(budget)}
            schedule.step()
            history.add(values, [objective.sizes[item] for item in step])
            facts.update(schedule=schedule.state_dict(), micro_batch_tokens=budget)
            keep = {each for each in (history.best_step(), stable_end) if each}
            job.checkpoints.step(number, lambda: (pack(weights, optimizer) | method.state(), facts), keep)
    history.close()
    optimizer.state.clear()  # a sharded model may be gathered in their memory
    _finish(model, weights, history, job, stable_end)
    return history


def _check(weights: Mapping[str, nn.Parameter], plan: Sequence[list[int]], job: Job) -> None:
    if not weights:
        raise UserError(f"{job.what}: no parameter of the model is trainable; check {job.what}.tuning.")
    if not plan:
        raise no_tokens(job)
    if sharding.sharded(weights.values()) and job.training.patience is not None and job.checkpoints.folder is None:
        raise UserError(
            f"{job.what}: early stopping of a sharded model reads its best checkpoint from the disk; start the stage "
            "by `gradus run`, or set training.patience to null."
        )


def _optimizer(weights: Mapping[str, nn.Parameter], steps: int, job: Job, method: Method) -> tuple[Optimizer, LambdaLR]:
    """Return the optimizer and its schedule, at the end of an earlier run's stable phase if that is continued."""
    settings, start = job.training, job.stable.start if job.stable else None
    optimizer = optimizers.create(settings.optimizer, method.groups(weights, job.learning_rate), settings.weight_decay)
    warmup = 0.0 if start else settings.warmup
    schedule = schedules.create(settings.schedule, optimizer, steps, warmup, settings.decay)
    if start:
        unpack(start.tensors, weights, optimizer)
    return optimizer, schedule


def _finish(
    model: Model, weights: Mapping[str, nn.Parameter], history: History, job: Job, stable_end: int | None
) -> None:
    """Leave the weights of the best validation in rank 0, where a sharded model is gathered, and end other processes.

    Rank 0 also stores the state at the end of WSD's stable phase.
    """
    if environment.rank() and not sharding.sharded(weights.values()):
        sys.exit()
    if best := history.best_step():
        unpack(job.checkpoints.kept(best).tensors, weights)
    sharding.gather(model)
    if environment.rank():
        sys.exit()
    if job.stable and stable_end and stable_end <= len(history.rows):
        job.stable.store(job.checkpoints.kept(stable_end))


def _resumed(
    job: Job, weights: Mapping[str, nn.Parameter], optimizer: Optimizer, schedule: LambdaLR, method: Method
) -> dict[str, Any]:
    """Restore the last checkpoint, if there is one; return its facts."""
    saved = job.checkpoints.latest()
    if saved is None:
        return {}
    unpack(saved.tensors, weights, optimizer)
    method.restore(saved.tensors)
    schedule.load_state_dict(saved.facts["schedule"])
    for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
        group["lr"] = rate
    restore_generators(saved.tensors)
    return saved.facts
