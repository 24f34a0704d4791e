"""Teacher: fine-tune the embedded model to write questions and to answer them from passages.

Reads artifacts/base/, the hand-written seeds and two prompt templates; writes artifacts/teacher/, a 16-bit adapter.
Other teachers are not fine-tuned, and then only the record is written. Run alone: python -m tasks.teacher
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.llm.config import TeacherConfig
from pipelines.llm.prompts import load
from pipelines.models import devices, loading, saving, weights
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.messages import Message
from pipelines.models.tuning import preparation
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run
from pipelines.synthesis.teacher_examples import training_examples
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import encode_chat, plan_batches
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.preflight.machine import check_machine
from pipelines.training.step import Job
from pipelines.training.tuning.hooks import method
from tasks import task

KEY_FILE = "key.json"
TEACHER_SETTINGS = {"tuning", "learning_rate", "epochs", "batch_tokens"}
NEUTRAL_SETTINGS = {"micro_batch_tokens", "checkpointing", "launch", "sharded", "patience", "criterion"}
"""Parameters of `training` that do not change what the teacher learns: of the machine, and of validation."""


def teacher(
    start: Path,
    prompts: Path,
    out: Path,
    config: TeacherConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Fine-tune the teacher's adapter, or use the committed one if it was trained from the same inputs."""
    if not config.finetunes:
        return {"trained": 0.0}
    templates = load(prompts, "answer_first"), load(prompts, "reader")
    chats = training_examples(artifacts.read_rows(config.seeds), *templates, compute.seed)
    wanted = {"base": weights.known_hash(start), **key(chats, config, training, compute, base)}
    if config.adapter is not None and _reusable(config.adapter, wanted):
        shutil.copytree(config.adapter, out, dirs_exist_ok=True)
        loading.tokenizer(start).save_pretrained(out)
        return {"trained": 0.0}
    loss = _finetune(start, chats, out, config, training, compute, base, run, checkpoints)
    artifacts.write_json(out / KEY_FILE, wanted)
    return {"trained": 1.0, "loss": loss}


def _reusable(adapter: Path, wanted: dict[str, Any]) -> bool:
    """Tell whether a committed adapter was trained from the inputs `wanted`, and print the decision."""
    if not (adapter / KEY_FILE).is_file():
        return False
    kept = artifacts.read_json(adapter / KEY_FILE)
    other = [name for name in wanted if kept.get(name) != wanted[name]]
    how = f"other inputs ({', '.join(other)}); a new one is trained" if other else "the same inputs and is reused"
    say(f"teacher: {adapter} was trained from {how}")
    return not other


def _finetune(
    start: Path,
    chats: list[list[Message]],
    out: Path,
    config: TeacherConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> float:
    devices.prepare(compute)
    tok = loading.tokenizer(start)
    rows = [encode_chat(tok, chat) for chat in chats]
    plan = plan_batches(
        [len(row.ids) for row in rows], [1.0] * len(rows), config.epochs, config.batch_tokens, compute.seed
    )
    items = [(row,) for row in rows]
    training = check_machine("teacher", start, items, plan, config.tuning, training, compute, base, out)
    model = preparation.adaptable(start, config.tuning, compute, base)
    job = Job("teacher", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    objective = LanguageModel(model, rows, tok.pad_token_id)
    model.train()
    loss = fit(model, objective, plan, job, method=method(model, config.tuning, len(plan))).tail("loss")
    for weight in (value for value in model.parameters() if value.requires_grad):
        weight.data = weight.data.bfloat16()  # half the size to commit
    saving.save_adapter(model, tok, out)
    return loss


def key(
    chats: list[list[Message]],
    config: TeacherConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
) -> dict[str, Any]:
    """Return what determines the adapter besides the base weights: the hash of the examples, and the parameters."""
    settings = config.model_dump(mode="json", include=TEACHER_SETTINGS)
    settings |= {"seed": compute.seed, "quantization": base.quantization}
    settings["training"] = training.model_dump(mode="json", exclude=NEUTRAL_SETTINGS)
    examples = hashlib.sha256(json.dumps(chats, ensure_ascii=False).encode()).hexdigest()
    return {"examples": examples, "settings": settings}


if __name__ == "__main__":
    with task("teacher") as t:
        settings, checkpoints = t.config, Checkpoints(t.place)
        prompts = settings.synthesize.prompts
        t.finish(
            teacher(
                t.input("base"),
                prompts,
                t.out,
                settings.teacher,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                checkpoints,
            )
        )
