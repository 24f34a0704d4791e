"""Direct preference optimisation with TRL, from the SFT adapter, with a copy of it as the reference."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import torch
import trl.trainer.utils
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from trl import DPOConfig, DPOTrainer

from pipelines.alignment.config import DPOBlock
from pipelines.alignment.sequences import Pair, plan_pairs
from pipelines.models.config import ComputeConfig
from pipelines.models.devices import dtype
from pipelines.runtime.tracking import Run
from pipelines.training.callback import ReportCallback
from pipelines.training.checkpoints import Checkpoints


class StartsAtReference(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Checks that the preference loss of the first step is ln 2, as it must be if policy = reference.

    Raises:
        RuntimeError: the loss is not ln 2, so the reference is not the model that training started from.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **_: Any,
    ) -> None:
        """Check the logs of the first step."""
        if state.global_step == 1 and "rewards/margins" in logs:
            loss = math.log1p(math.exp(-logs["rewards/margins"]))
            if abs(loss - math.log(2)) > 1e-3 or abs(logs["rewards/chosen"]) > 1e-3:
                raise RuntimeError(f"DPO started at a loss of {loss:.4f}, not ln 2: its reference is not its start")


class PlannedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # trl is not followed by the type checker
    """A DPOTrainer for rows that are already tokenised, in planned batches of similar length."""

    plan: list[list[int]]

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Load exactly the planned batches, in their order."""
        return DataLoader(self.train_dataset, batch_sampler=self.plan, collate_fn=self.data_collator)


@contextmanager
def labelled_positions_only() -> Iterator[None]:
    """Let TRL's fused output layer skip prompts and padding, most of a batch, on a CPU too.

    TRL does so only on devices with Triton, to avoid recompilation elsewhere; a CPU does not recompile. The name is
    private, but TRL is pinned, and a missing name raises AttributeError.
    """
    before = trl.trainer.utils._use_triton
    trl.trainer.utils._use_triton = lambda device: device.type == "cpu" or before(device)
    try:
        yield
    finally:
        trl.trainer.utils._use_triton = before


def train(
    model: PeftModel,
    tok: PreTrainedTokenizerBase,
    pairs: list[Pair],
    config: DPOBlock,
    compute: ComputeConfig,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train the adapter "default" of `model` to prefer the first of each pair; return the metrics of the last steps.

    Raises:
        UserError: the loss becomes NaN.
    """
    plan = [
        batch for epoch in range(config.epochs) for batch in plan_pairs(pairs, config.batch_size, compute.seed + epoch)
    ]
    rows = [{"prompt_ids": better[0], "chosen_ids": better[1], "rejected_ids": worse[1]} for better, worse in pairs]
    report = ReportCallback(run, "align.dpo", len(plan), checkpoints, config.epochs)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = PlannedDPOTrainer(
            model=model,
            args=arguments(config, compute, len(plan), model.device.type, scratch),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tok,
            callbacks=[report] if report.done else [StartsAtReference(), report],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.plan = plan
        with labelled_positions_only(), disable_input_dtype_casting(model):
            report.train(trainer)
    model.delete_adapter("ref")
    names = {
        "loss": "loss",
        "rewards/accuracies": "accuracy",
        "rewards/margins": "margin",
        "logps/chosen": "chosen_logprob",
    }
    return {new: report.tail(old) for old, new in names.items()}


def arguments(config: DPOBlock, compute: ComputeConfig, steps: int, device: str, scratch: str) -> DPOConfig:
    """Return TRL's settings; a positive `sft_weight` adds the SFT loss on the chosen answer."""
    mixed = config.sft_weight > 0
    return DPOConfig(
        output_dir=scratch,
        loss_type=["sigmoid", "sft"] if mixed else ["sigmoid"],
        loss_weights=[1.0, config.sft_weight] if mixed else [1.0],
        beta=config.beta,
        learning_rate=config.learning_rate,
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=0.1,
        lr_scheduler_type="linear",
        max_length=None,
        bf16=dtype(compute) == torch.bfloat16,
        use_cpu=device == "cpu",
        gradient_checkpointing=False,
        seed=compute.seed,
        data_seed=compute.seed,
        dataloader_num_workers=0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
