"""The teachers by role (writer, reader, judge), with cached responses.

A model is local (fine-tuned on the seeds, or instruction-tuned) or served; `CachedModel` sends it only the calls that
the response cache does not answer.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.llm.budget import Budget
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.config import FinetunedModel, LocalModel, ServedModel, TeacherConfig
from pipelines.llm.local import LocalTeacher
from pipelines.llm.openai import ServedTeacher
from pipelines.models import devices, loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.runtime.errors import UserError


@dataclass(frozen=True)
class Teachers:
    """The model for each role; roles that name the same model share one object."""

    writer: CachedModel | None
    reader: CachedModel | None
    judge: CachedModel | None

    def counts(self) -> dict[str, float]:
        """Return the numbers of calls that were paid, cached and failed, and their total cost."""
        models = list({id(each): each for each in (self.writer, self.reader, self.judge) if each}.values())
        totals = {
            f"calls_{name}": float(sum(each.counts[name] for each in models)) for name in ("paid", "kept", "failed")
        }
        return totals | {"cost": sum(each.cost for each in models)}


def load_teachers(
    config: TeacherConfig,
    finetuned: Path,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    store: ResponseCache,
) -> Teachers:
    """Load the teachers; `finetuned` is the directory of the fine-tuned model.

    Raises:
        UserError: a server does not answer, or a model cannot be loaded.
    """
    roles = config.roles
    names = {name for _, name in roles if name is not None}
    models = _loaded(config, names, finetuned, base, compute, batch_size, store)
    writer, reader, judge = (None if name is None else models[name] for _, name in roles)
    return Teachers(writer, reader, judge)


def load_judge(
    config: TeacherConfig,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    store: ResponseCache,
    folder: Path | None = None,
) -> CachedModel:
    """Load the judge alone: the model in `folder`, by default that of `teacher.roles.judge`.

    A policy that judges itself is such a folder (self-rewarding, Yuan et al. 2024, arXiv:2401.10020).

    Raises:
        UserError: no judge is configured, it is the fine-tuned model, or it cannot be loaded.
    """
    if folder is not None:
        model, tok = loading.load(folder, compute, base), loading.tokenizer(folder)
        local = LocalTeacher(model, tok, batch_size, compute.seed, instructed=True, continuous=False)
        return _cached(local, store, folder.as_posix(), compute)
    name = config.roles.judge
    if name is None or config.models[name].kind == "finetuned":
        raise UserError("A judge is required, but teacher.roles.judge names no instruction-tuned model; name one.")
    return _loaded(config, {name}, Path(), base, compute, batch_size, store)[name]


def _loaded(
    config: TeacherConfig,
    names: set[str],
    finetuned: Path,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    store: ResponseCache,
) -> dict[str, CachedModel]:
    """Load each of the named models once."""
    budget = Budget(config.budget)
    models: dict[str, CachedModel] = {}
    for name in sorted(names):
        model = config.models[name]
        if isinstance(model, ServedModel):
            served = ServedTeacher(model, compute.seed, budget)
            more = f" {json.dumps(model.extra_body, sort_keys=True)}" if model.extra_body else ""
            models[name] = CachedModel(served, store, model.model, f"{model.url} {model.revision}{more}", compute.seed)
        else:
            loaded, tok = _local(model, name, finetuned, base, compute)
            big = isinstance(model, LocalModel)
            continuous = big and loaded.device.type == "cuda"
            local = LocalTeacher(loaded, tok, batch_size, compute.seed, instructed=big, continuous=continuous)
            label = model.model if isinstance(model, LocalModel) else "finetuned"
            models[name] = _cached(local, store, label, compute)
    return models


def _cached(local: LocalTeacher, store: ResponseCache, label: str, compute: ComputeConfig) -> CachedModel:
    key = f"{fingerprint(local.model)} {compute.threads} {local.batch_size}"
    return CachedModel(local, store, label, key, compute.seed)


def _local(
    model: LocalModel | FinetunedModel, name: str, finetuned: Path, base: BaseModelConfig, compute: ComputeConfig
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(model, FinetunedModel):
        return loading.load(finetuned, compute, base), loading.tokenizer(finetuned)
    named = base.model_copy(update={"model": model.model, "chat_template": None})
    where = str(devices.device(compute))
    loaded, tok = loading.fetch(named, f"teacher.models.{name}.model", devices.dtype(compute), where)
    tok.padding_side = "left"
    return loaded.eval(), tok


def fingerprint(model: PreTrainedModel) -> str:
    """Return the SHA-256 of a model's weights, their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
