"""Teacher: school the embedded model as writer of questions and reader of passages.

Reads artifacts/base/, the hand-written seeds and two prompt files; writes artifacts/teacher/, an adapter in 16 bits.
Other teachers need no schooling, and then only the record is written. Alone: python -m tasks.teacher
"""

import shutil
from pathlib import Path

from pipelines import artifacts
from pipelines.llm.config import TeacherConfig
from pipelines.llm.prompts import load
from pipelines.models import devices, loading
from pipelines.models.config import ComputeConfig
from pipelines.models.messages import Message
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run
from pipelines.synthesis.teacher_examples import training_examples
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import encode_chat, plan_batches
from pipelines.training.trainer import train
from tasks import task

LESSON = "lesson.json"
SCHOOLING = {"lora", "learning_rate", "epochs", "batch_tokens"}


def teacher(
    base: Path,
    prompts: Path,
    out: Path,
    config: TeacherConfig,
    compute: ComputeConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train the teacher's adapter, or take the committed one if it was trained from the very same inputs."""
    if not config.finetunes:
        return {"trained": 0.0}
    recipes = load(prompts, "answer_first"), load(prompts, "reader")
    chats = training_examples(artifacts.read_rows(config.seeds), *recipes, compute.seed)
    key = _key(base, chats, config, compute)
    if config.adapter is not None and artifacts.made_from(config.adapter / LESSON, key):
        say(f"teacher: {config.adapter} was trained from these very inputs; it is used as it is")
        shutil.copytree(config.adapter, out, dirs_exist_ok=True)
        loading.tokenizer(base).save_pretrained(out)
        return {"trained": 0.0}
    loss = _school(base, chats, out, config, compute, run, checkpoints)
    artifacts.write_json(out / LESSON, {"key": key})
    return {"trained": 1.0, "loss": loss}


def _school(
    base: Path,
    chats: list[list[Message]],
    out: Path,
    config: TeacherConfig,
    compute: ComputeConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> float:
    devices.prepare(compute)
    tok = loading.tokenizer(base)
    rows = [encode_chat(tok, chat) for chat in chats]
    plan = plan_batches(
        [len(row.ids) for row in rows], [1.0] * len(rows), config.epochs, config.batch_tokens, compute.seed
    )
    model = loading.adaptable(base, config.lora, compute)
    loss = train(
        model,
        tok,
        rows,
        plan,
        learning_rate=config.learning_rate,
        compute=compute,
        run=run,
        what="teacher",
        checkpoints=checkpoints,
        epochs=config.epochs,
    )
    for weight in (value for value in model.parameters() if value.requires_grad):
        weight.data = weight.data.bfloat16()  # half the size, for committing it; the teacher runs in 16 bits anyway
    loading.save_adapter(model, tok, out)
    return loss


def _key(base: Path, chats: list[list[Message]], config: TeacherConfig, compute: ComputeConfig) -> str:
    """Hash all that decides the adapter: base weights, lessons, parameters; not the machine."""
    settings = config.model_dump(mode="json", include=SCHOOLING) | {"seed": compute.seed}
    return loading.stored_hash(base, chats, settings)


if __name__ == "__main__":
    with task("teacher") as t:
        settings, kept = t.config, Checkpoints(t.place)
        prompts = settings.synthesize.prompts
        t.finish(teacher(t.input("base"), prompts, t.out, settings.teacher, settings.compute, t.run, kept))
