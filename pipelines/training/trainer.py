"""TRL's SFTTrainer, optimized for short rows: planned batches, and logits only for labelled tokens.

On a CPU, TRL's fused output layer also computes logits for prompt and padding, and recomputes them in the backward
pass; for short questions and answers that is most of a step.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import peft
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig as TRLConfig
from trl import SFTTrainer

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import autocast, device, dtype
from pipelines.models.saving import inner
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import Run
from pipelines.training.callback import ReportCallback
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import IGNORED, Example


class PlannedTrainer(SFTTrainer):  # type: ignore[misc]  # trl is not followed by the type checker
    """An SFTTrainer with planned batches and a rehearsal loss for some rows."""

    plan: list[list[int]]
    rehearsal_weight: float

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Load exactly the planned batches in order."""
        return DataLoader(self.train_dataset, batch_sampler=self.plan, collate_fn=self.data_collator)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of the labelled tokens (scalar, nats)."""
        where = inputs["input_ids"].device.type
        with torch.autocast(where, dtype=torch.bfloat16, enabled=self.args.bf16):  # accelerate wraps only forward()
            rehearsal = inputs["rehearsed"], self.rehearsal_weight
            loss = labelled_loss(model, inputs["input_ids"], inputs["labels"], *rehearsal, inputs.get("positions"))
        return (loss, {"loss": loss}) if return_outputs else loss


@dataclass(frozen=True)
class Padding:
    """Collate rows into `input_ids` and `labels` (rows, tokens), padded on the right, and `rehearsed` (rows).

    Packed rows also have `positions` (rows, tokens).
    """

    token: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad to the longest row."""
        values = {"input_ids": self.token, "labels": IGNORED, "positions": 0}
        padded = {
            key: pad_sequence([torch.tensor(row[key]) for row in rows], batch_first=True, padding_value=value)
            for key, value in values.items()
            if key in rows[0]
        }
        return {**padded, "rehearsed": torch.tensor([row["rehearsed"] for row in rows])}


def predicted(
    model: peft.PeftModel, ids: torch.Tensor, wanted: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the logits (wanted tokens, vocabulary) of the tokens after `wanted` positions of `ids` (rows, tokens).

    Logits are computed only for those positions. There is no attention mask: a causal model never attends to padding on
    its right, and without a mask attention uses its fast path. From `positions` (rows, tokens), which restart with each
    text of a packed row, transformers builds the document mask.
    """
    return _logits(model, _hidden_states(model, ids, positions)[wanted])


def _hidden_states(model: peft.PeftModel, ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
    """Return the last hidden states of all tokens but the last of each row (rows, tokens - 1, width)."""
    decoder = inner(model).get_decoder()
    hidden: torch.Tensor = decoder(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return hidden[:, :-1]


def _logits(model: peft.PeftModel, hidden: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = inner(model).get_output_embeddings()(hidden)
    return logits.float()


def labelled_loss(
    model: peft.PeftModel,
    ids: torch.Tensor,
    labels: torch.Tensor,
    rehearsed: torch.Tensor | None = None,
    weight: float = 1.0,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean loss (nats) of the labelled tokens; `ids` and `labels` are (rows, tokens), padded on the right.

    The loss of a token is its cross entropy. In a `rehearsed` row it is `weight` times the KL divergence from the base
    model (the adapter disabled), which preserves the whole output distribution instead of only the likeliest token
    (learning without forgetting, Li and Hoiem 2016, arXiv:1606.09282).
    """
    targets = labels[:, 1:]
    wanted = targets != IGNORED
    if rehearsed is None or not rehearsed.any():
        return F.cross_entropy(predicted(model, ids, wanted, positions), targets[wanted])
    preserved, learned = wanted & rehearsed[:, None], wanted & ~rehearsed[:, None]
    with torch.no_grad(), model.disable_adapter():
        reference = predicted(model, ids[rehearsed], wanted[rehearsed]).log_softmax(-1)
    hidden = _hidden_states(model, ids, positions)  # split before the output layer: logits are eighty times as wide
    cross_entropy = F.cross_entropy(_logits(model, hidden[learned]), targets[learned], reduction="sum")
    divergence = F.kl_div(
        _logits(model, hidden[preserved]).log_softmax(-1), reference, reduction="sum", log_target=True
    )
    return (cross_entropy + weight * divergence) / wanted.sum()


@torch.no_grad()
def mean_loss(model: peft.PeftModel, rows: Sequence[Example], compute: ComputeConfig) -> float:
    """Return the mean loss (nats per labelled token) over `rows`, one row at a time; 0.0 without rows."""
    model.eval()
    total = count = 0.0
    with autocast(compute, model.device):
        for row in rows:
            ids, labels = (torch.tensor([values], device=model.device) for values in (row.ids, row.labels))
            wanted = int((labels[:, 1:] != IGNORED).sum())
            total += wanted * float(labelled_loss(model, ids, labels))
            count += wanted
    return total / count if count else 0.0


def train(
    model: peft.PeftModel,
    tok: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    plan: list[list[int]],
    *,
    learning_rate: float,
    compute: ComputeConfig,
    run: Run,
    what: str,
    checkpoints: Checkpoints,
    rehearsal_weight: float = 1.0,
    epochs: int = 1,
    held_back: Sequence[Example] = (),
) -> float:
    """Train the adapter of `model` on the planned batches of `rows`; return the mean loss of the last tenth.

    Training resumes from `checkpoints` if there are any. The loss is `labelled_loss`; the optimizer is AdamW with
    warm-up over 5% of the steps, then linear decay to zero. The plan covers `epochs` epochs. The validation loss on the
    rows `held_back`, if any, is logged ten times.

    Raises:
        UserError: no parameter is trainable, no token is labelled, or the loss is not finite.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{what}: no parameter of the model is trainable; check {what}.lora.")
    if not plan or all(label == IGNORED for row in rows for label in row.labels):
        raise UserError(f"{what}: there is no token to train on; check the rejects of the previous stage.")
    columns: dict[str, list[Any]] = {
        "input_ids": [row.ids for row in rows],
        "labels": [row.labels for row in rows],
        "rehearsed": [row.rehearsed for row in rows],
    }
    if rows[0].positions is not None:
        columns["positions"] = [row.positions for row in rows]
    dataset = Dataset.from_dict(columns)
    tok.padding_side = "right"
    validate = (lambda: mean_loss(model, held_back, compute)) if held_back else None
    report = ReportCallback(run, what, len(plan), checkpoints, epochs, validate)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = PlannedTrainer(
            model=model,
            args=_arguments(learning_rate, len(plan), compute, scratch),
            train_dataset=dataset,
            processing_class=tok,
            data_collator=Padding(tok.pad_token_id),
            callbacks=[report],
        )
        trainer.plan = plan
        trainer.rehearsal_weight = rehearsal_weight
        trainer.remove_callback(PrinterCallback)
        with disable_input_dtype_casting(
            model
        ):  # autocast handles dtypes; PEFT would first copy every input to float32
            report.train(trainer)
    return report.tail("loss")


def _arguments(learning_rate: float, steps: int, compute: ComputeConfig, scratch: str) -> TRLConfig:
    on_cpu = device(compute).type == "cpu"
    return TRLConfig(
        output_dir=scratch,
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, steps // 20),
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=dtype(compute) == torch.bfloat16,
        use_cpu=on_cpu,
        gradient_checkpointing=False,
        max_length=None,
        packing=False,
        seed=compute.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
    )
