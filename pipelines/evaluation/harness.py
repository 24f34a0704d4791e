"""Ask a model through lm-eval: answers to the questions, and bits on held-out text, from the task files in `tasks/`.

lm-eval applies the chat template, batches and windows the text; `pipelines.inference.beam_search` decodes the answers.
Its cache stays off: it is keyed by request and not by model, and would give one model's answers to the next. Its
`evaluate` is called rather than `simple_evaluate`, which asks the Hugging Face hub about the model.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.evaluation.questions import SETS, Question
from pipelines.inference.beam_search import search
from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.runtime.progress import Meter

TASKS = Path(__file__).parent / "tasks"
logging.getLogger("lm_eval").setLevel(logging.ERROR)


class MeteredLM(HFLM):  # type: ignore[misc]  # lm-eval is not followed by the type checker
    """lm-eval's own Hugging Face model, which tells its progress as the rest of Gradus does, and by no bars besides."""

    def __init__(self, meter: Meter, **options: Any) -> None:
        """Count sequences on `meter`."""
        super().__init__(add_bos_token=False, softmax_dtype="float32", **options)
        self.meter = meter

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """Render a conversation as training does; `tok_batch_encode` encodes it."""
        return chat.render(self.tokenizer, chat_history, generation_prompt=add_generation_prompt)

    def tok_encode(self, string: str, *_: Any, **options: Any) -> list[int]:
        """Return the ids of a rendered conversation or a marked text."""
        return chat.encode(self.tokenizer, string)

    def tok_batch_encode(
        self, strings: list[str], *_: Any, left_truncate_len: int, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids of rendered conversations, padded on the left, and their attention mask."""
        ids = [chat.encode(self.tokenizer, string)[-left_truncate_len:] for string in strings]
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Answer every request."""
        texts: list[str] = super().generate_until(requests, disable_tqdm=True)
        return texts

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Return the log-likelihood (natural) of every text."""
        marked = [replace(request, arguments=(chat.mark(self.tokenizer, *request.args),)) for request in requests]
        likelihoods: list[float] = super().loglikelihood_rolling(marked, disable_tqdm=True)
        return likelihoods

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = True, **options: Any) -> list[Any]:
        scored: list[Any] = super()._loglikelihood_tokens(requests, disable_tqdm=True, **options)
        return scored

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], attention_mask: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Continue `context` to the end of turn, by our own decoding: rows that ended leave the batch."""
        prompts = [ids[shown].tolist() for ids, shown in zip(context, attention_mask.bool(), strict=True)]
        room, pad = max_length - context.shape[1], self.tokenizer.pad_token_id
        output = context.new_full((len(context), room), pad)
        how = room, options.get("num_beams", 1), options.get("length_penalty", 1.0), len(prompts)
        for row, tokens in search(self.model, self.tokenizer, prompts, [self.eot_token_id], *how):
            output[row, : len(tokens)] = context.new_tensor(tokens)
            self.meter.step()
        return torch.cat([context, output], dim=1)

    def _model_call(self, inps: torch.Tensor, **options: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps, **options)
        self.meter.step(len(inps))
        return logits


def answers(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    folder: Path,
    questions: list[Question],
    decoding: Mapping[str, Any],
    batch_size: int,
) -> dict[str, str]:
    """Answer the `questions` of `folder`, without examples; return the answer by question id.

    `decoding` is `EvaluateConfig.decoding`: likeliest tokens or a beam search, `max_new_tokens` at most.

    The tokenizer's end of turn ends an answer, whatever the model's own settings say: lm-eval drops special tokens
    when it decodes, so what came after an end that was not obeyed would become part of the answer.
    """
    meter = Meter("questions", len(questions))
    lm = MeteredLM(meter, pretrained=model, tokenizer=tok, batch_size=batch_size)
    stop = {"until": [tok.eos_token], "eos_token_id": tok.eos_token_id, **decoding}
    sets = [name for name in SETS if any(question.set == name for question in questions)]
    samples = _run(lm, sets, templated=True, generation=stop, where={"folder": str(folder)})
    meter.close()
    return {sample["doc"]["id"]: sample["filtered_resps"][0].strip() for sample in samples}


def text_bits(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, documents: Path, window: int
) -> list[artifacts.Row]:
    """Score every document, if there are any: `{"source", "bits", "bytes"}`, bits being -log2 of its likelihood.

    The text is cut into windows of `window` tokens, each given the token before it as context (the first the
    tokenizer's BOS, the last as many as make it full), so that every token is scored once. One window at a time: the
    logits of a batch would fill the memory.
    """
    texts = [row["text"] for row in artifacts.read_table(documents)]
    if not texts:
        return []  # nothing could be held out, as split has said
    windows = sum(math.ceil(len(chat.encode_text(tok, text)) / window) for text in texts)
    meter = Meter("windows of text", windows)
    lm = MeteredLM(meter, pretrained=model, tokenizer=tok, batch_size=1, max_length=window)
    samples = _run(lm, ["held_out_text"], templated=False, generation={}, where={"documents": str(documents)})
    meter.close()
    scored = [(sample["doc"]["source"], *sample["bits_per_byte"]) for sample in samples]
    rows = [{"source": source, "bits": -nats / math.log(2), "bytes": size} for source, nats, size in scored]
    return sorted(rows, key=lambda row: str(row["source"]))


def _run(
    lm: MeteredLM, names: list[str], *, templated: bool, generation: dict[str, Any], where: dict[str, str]
) -> list[dict[str, Any]]:
    """Run lm-eval's tasks `names` and return its samples, one a document; `where` goes to their datasets."""
    loaded = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=where).load(names)
    for task in loaded["tasks"].values():
        if generation:
            task.set_config(key="generation_kwargs", value=generation, update=True)
    results = evaluate(lm, loaded, apply_chat_template=templated, log_samples=True, bootstrap_iters=0)
    return [sample for name in names for sample in results["samples"][name]]
