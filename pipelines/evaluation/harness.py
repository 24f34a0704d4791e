"""Evaluate a model through lm-eval: answers to the questions, zero-shot, and bits on held-out text.

lm-eval applies the chat template, batches and windows the text; `pipelines.inference.beam_search` decodes the answers.
lm-eval's cache is disabled: it is keyed by request and not by model, so one model would get another's answers.
`evaluate` is called instead of `simple_evaluate`, which queries the Hugging Face hub about the model.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.evaluation.questions import Question
from pipelines.inference.beam_search import Beams, search
from pipelines.inference.likelihood import loglikelihoods
from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.models.templates.stops import stop_ids, without_thoughts
from pipelines.runtime.progress import Meter

CHOICES_PER_BATCH = 256  # four choices of 64 questions; their logits take 0.2 GiB with a vocabulary of 50,000
logging.getLogger("lm_eval").setLevel(logging.ERROR)

# lm-eval task configurations; Gradus scores the answers itself.
_GENERATED = {
    "task": "generated",
    "output_type": "generate_until",
    "doc_to_text": "question",
    "doc_to_target": "",
    "metric_list": [{"metric": "bypass"}],
}
_CHOICE = {
    "task": "choice",
    "output_type": "multiple_choice",
    "doc_to_text": "question",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc"}],
}
_HELD_OUT_TEXT = {
    "task": "held_out_text",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "text",
    "metric_list": [{"metric": "bits_per_byte"}],
}


@dataclass(frozen=True)
class Answer:
    """An answer, and how likely the model finds it."""

    text: str
    """The decoded answer, or the choice with the highest log-likelihood."""
    log_likelihood: float | None
    """Mean log-likelihood (nats) of its tokens, up to its end; None for a choice."""


class MeteredLM(HFLM):  # type: ignore[misc]  # lm-eval is not followed by the type checker
    """lm-eval's Hugging Face model with the progress reporting of Gradus instead of tqdm bars."""

    def __init__(self, meter: Meter, **options: Any) -> None:
        """Count sequences on `meter`."""
        super().__init__(add_bos_token=False, softmax_dtype="float32", **options)
        self.meter = meter
        self.rendered: dict[str, str] = {}  # lm-eval renders a question once for each of its choices
        self.batch: list[str] = []  # the rendered conversations that are decoded next
        self.likelihoods: dict[str, float] = {}  # mean log-likelihood per token of the answer to a conversation

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """Render a conversation as training does; `tok_batch_encode` encodes it."""
        key = json.dumps([chat_history, add_generation_prompt])
        if key not in self.rendered:
            self.rendered[key] = chat.render(self.tokenizer, chat_history, generation_prompt=add_generation_prompt)
        return self.rendered[key]

    def tok_encode(self, string: str, *_: Any, **options: Any) -> list[int]:
        """Return the token ids of a rendered conversation or a marked text."""
        return chat.encode(self.tokenizer, string)

    def tok_batch_encode(
        self, strings: list[str], *_: Any, left_truncate_len: int, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the left-padded token ids of rendered conversations and their attention mask."""
        self.batch = list(strings)
        ids = [chat.encode(self.tokenizer, string)[-left_truncate_len:] for string in strings]
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Generate an answer to every request."""
        texts: list[str] = super().generate_until(requests, disable_tqdm=True)
        return texts

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return the log-likelihood (nats) of the continuation of every request, computing each context once.

        lm-eval's own scores every choice with its context, four times the work. Whether a continuation is the greedy
        one, which no metric here uses, is not computed.
        """
        contexts: dict[str, list[int]] = {}  # places in `requests`
        for place, request in enumerate(requests):
            contexts.setdefault(request.args[0], []).append(place)
        encoded = [chat.encode(self.tokenizer, context) for context in contexts]
        members = list(contexts.values())
        choices = [
            [chat.encode_text(self.tokenizer, requests[place].args[1]) for place in places] for places in members
        ]
        scores = [(0.0, False)] * len(requests)
        for at, found in loglikelihoods(self.model, self.tokenizer, encoded, choices, CHOICES_PER_BATCH):
            for place, score in zip(members[at], found, strict=True):
                scores[place] = (score, False)
            self.meter.step()
        return scores

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Return the log-likelihood (nats) of every text."""
        marked = [replace(request, arguments=(chat.mark(self.tokenizer, *request.args),)) for request in requests]
        likelihoods: list[float] = super().loglikelihood_rolling(marked, disable_tqdm=True)
        return likelihoods

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = True, **options: Any) -> list[Any]:
        scored: list[Any] = super()._loglikelihood_tokens(requests, disable_tqdm=True, **options)
        return scored

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], attention_mask: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Decode `context` to the end of turn with Gradus's beam search, which drops finished rows from the batch."""
        prompts = [ids[mask].tolist() for ids, mask in zip(context, attention_mask.bool(), strict=True)]
        length, pad = max_length - context.shape[1], self.tokenizer.pad_token_id
        output = context.new_full((len(context), length), pad)
        how = stop_ids(self.model, self.tokenizer), length, Beams.of(options), len(prompts)
        for row, tokens, likelihood in search(self.model, self.tokenizer, prompts, *how):
            self.likelihoods[self.batch[row]] = likelihood / len(tokens)
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
    questions: Sequence[Question],
    decoding: Mapping[str, Any],
    batch_size: int,
) -> dict[str, Answer]:
    """Answer the `questions`; return the answers by question id.

    `decoding` is `EvaluateConfig.decoding`: greedy or beam search, up to `max_new_tokens`.

    Every stop token ends an answer (`stop_ids`), regardless of `decoding`: lm-eval drops special tokens when decoding,
    so text after an ignored end would become part of the answer.
    """
    meter = Meter("questions", len(questions))
    lm = MeteredLM(meter, pretrained=model, tokenizer=tok, batch_size=batch_size)
    stop = {"do_sample": False, "until": [tok.eos_token], "eos_token_id": stop_ids(model, tok), **decoding}
    said: dict[str, Answer] = {}
    if rows := [{"id": each.id, "question": each.question} for each in questions if not each.choices]:
        samples = _run(lm, _GENERATED | {"generation_kwargs": stop}, rows, templated=True)
        said |= {sample["doc"]["id"]: _decoded(sample, lm.likelihoods, tok) for sample in samples}
    if rows := [_choice_row(each) for each in questions if each.choices]:
        samples = _run(lm, _CHOICE, rows, templated=True)
        said |= {sample["doc"]["id"]: _likeliest(sample) for sample in samples}
    meter.close()
    return said


def _choice_row(question: Question) -> artifacts.Row:
    """Return a question with choices; `gold` is the position of the answer."""
    choices = list(question.choices)
    return {
        "id": question.id,
        "question": question.question,
        "choices": choices,
        "gold": choices.index(question.accepted[0]),
    }


def _decoded(sample: dict[str, Any], likelihoods: Mapping[str, float], tok: PreTrainedTokenizerBase) -> Answer:
    """Return the decoded answer, without the chain of thought."""
    return Answer(without_thoughts(tok, sample["filtered_resps"][0]), likelihoods[sample["arguments"][0][0]])


def _likeliest(sample: dict[str, Any]) -> Answer:
    """Return the choice with the highest log-likelihood."""
    likely = [likelihood for likelihood, _ in sample["filtered_resps"]]
    return Answer(sample["doc"]["choices"][likely.index(max(likely))], None)


def text_bits(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, documents: Path, window: int
) -> list[artifacts.Row]:
    """Score every held-out document: `{"source", "bits", "bytes"}`, where bits is -log2 of its likelihood.

    The text is split into windows of `window` tokens, each with the previous token as context (BOS for the first, and
    enough tokens to fill the last), so that every token is scored once. Windows are scored one at a time, because the
    logits of a batch would exhaust memory.
    """
    rows = [{"source": row["source"], "text": row["text"]} for row in artifacts.read_table(documents)]
    if not rows:
        return []  # split held out nothing and has reported it
    windows = sum(math.ceil(len(chat.encode_text(tok, row["text"])) / window) for row in rows)
    meter = Meter("windows of text", windows)
    lm = MeteredLM(meter, pretrained=model, tokenizer=tok, batch_size=1, max_length=window)
    samples = _run(lm, _HELD_OUT_TEXT, rows, templated=False)
    meter.close()
    scored = [(sample["doc"]["source"], *sample["bits_per_byte"]) for sample in samples]
    bits = [{"source": source, "bits": -nats / math.log(2), "bytes": size} for source, nats, size in scored]
    return sorted(bits, key=lambda row: str(row["source"]))


def _run(lm: MeteredLM, task: Mapping[str, Any], rows: list[artifacts.Row], *, templated: bool) -> list[dict[str, Any]]:
    """Run an lm-eval task on `rows` and return its samples, one per row."""
    dataset = {"test": Dataset.from_list(rows)}
    settings = {"test_split": "test", "num_fewshot": 0, "custom_dataset": lambda **_: dataset}
    loaded = TaskManager(include_defaults=False).load({**task, **settings})
    results = evaluate(lm, loaded, apply_chat_template=templated, log_samples=True, bootstrap_iters=0)
    samples: list[dict[str, Any]] = results["samples"][task["task"]]
    return samples
