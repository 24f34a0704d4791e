"""TRL's SFTTrainer, paused and continued between steps for benchmarks/sft.py."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from greenlet import greenlet
from transformers import TrainerCallback, TrainerControl, TrainerState
from trl import SFTConfig, SFTTrainer

from pipelines.config import Config
from pipelines.curation.schema import TrainingRow
from pipelines.models import devices, loading
from pipelines.models.tuning import peft_methods


def trl_trainer(
    directory: Path, out: Path, settings: Config, trained: Sequence[TrainingRow], epochs: int, **options: Any
) -> Any:
    """Return TRL's trainer of an adapter on the base model in `directory`, with TRL's defaults except `options`."""
    datasets.disable_progress_bars()
    pairs = [{"prompt": row.messages[:-1], "completion": row.messages[-1:]} for row in trained]
    assert settings.sft.tuning is not None
    trainer = SFTTrainer(
        model=str(directory),
        args=SFTConfig(
            output_dir=str(out),
            num_train_epochs=epochs,
            learning_rate=settings.sft.learning_rate,
            bf16=devices.dtype(settings.compute) == torch.bfloat16,
            use_cpu=devices.device(settings.compute).type == "cpu",
            seed=settings.compute.seed,
            include_num_input_tokens_seen="non_padding",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=datasets.Dataset.from_list(pairs),
        processing_class=loading.tokenizer(directory),
        peft_config=peft_methods.configuration(settings.sft.tuning.method, settings.sft.tuning.options),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


class Peer(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by the type checker
    """The training of an SFTTrainer, which runs only inside `advance`."""

    def __init__(self, trainer: Any) -> None:
        """Prepare `trainer.train()`, which starts with the first call of `advance`."""
        self.trainer, self.tokens, self.steps = trainer, 0, 0
        self.limit = 0.0
        trainer.add_callback(self)
        self.training = greenlet(trainer.train)

    def advance(self, limit: float) -> float:
        """Train until `limit` tokens have been seen, or to the end; return the tokens per second, without padding."""
        self.limit, before, began = limit, self.tokens, time.perf_counter()
        deterministic = torch.are_deterministic_algorithms_enabled()  # on a CPU, by devices.prepare
        torch.use_deterministic_algorithms(False)
        self.training.switch()
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        return (self.tokens - before) / (time.perf_counter() - began)

    def on_step_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Return to the caller of `advance` at its limit."""
        self.tokens, self.steps = int(state.num_input_tokens_seen), state.global_step
        if self.tokens >= self.limit:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.training.parent.switch()
