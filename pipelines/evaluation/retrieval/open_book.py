"""Answer questions open book, with the passages found by BM25 in the prompt (retrieval-augmented generation).

Lewis et al. 2020, arXiv:2005.11401. Decoding equals closed-book evaluation, so that only the prompt differs. Reads and
writes nothing.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.evaluation import scoring
from pipelines.evaluation.asking import judged
from pipelines.evaluation.config import EvaluateConfig, OpenBookConfig
from pipelines.evaluation.questions import ANSWERABLE, GENERAL, SPLITS, Question
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import Passage
from pipelines.inference.beam_search import search
from pipelines.models.chat import encode_prompt
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track
from pipelines.text.normalize import spans, tokens

BOTH = "both"
"""Name of the cascade in metrics and tables."""


def is_asked(split: str, question_set: str) -> bool:
    """Return whether questions of this split and set are asked: test questions about the documents."""
    return split == SPLITS[-1] and question_set != GENERAL


def answers(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    index: Index,
    config: OpenBookConfig,
    evaluation: EvaluateConfig,
    refusal: str,
) -> list[Row]:
    """Return one row of answers.jsonl per question, with the `passage` in its prompt and the `source` of the best one.

    A question that shares no term with any passage of `index` is asked closed book. `refusal` is the sentence that
    models are fine-tuned to refuse with.

    Raises:
        UserError: a prompt is too long for the model's context.
    """
    found = [index.search(question.question, config.passages) for question in questions]
    texts = ["\n\n".join(_headed(passage) for passage in passages) for passages in found]
    prompts = [_prompt(question, text, config.prompt) for question, text in zip(questions, texts, strict=True)]
    said = _decode(model, tok, prompts, evaluation)
    return [
        {
            **judged(question, answer, refusal, evaluation.max_extra_words),
            "passage": text,
            "source": passages[0].source if passages else None,
        }
        for question, answer, text, passages in zip(questions, said, texts, found, strict=True)
    ]


def cascade(closed: Sequence[Row], opened: Sequence[Row], refusal: str) -> list[Row]:
    """Return the closed-book answers, with the open-book one in place of each refusal.

    Both are for the same questions in the same order. A refusal is recognised without the accepted answers, which a
    served model does not have either.
    """
    return [
        other if scoring.is_refusal(row["answer"], row["question"], refusal) else {**row, "passage": "", "source": None}
        for row, other in zip(closed, opened, strict=True)
    ]


def recall(rows: Sequence[Row]) -> float:
    """Return the share of answerable questions with an accepted answer in their passages.

    This is recall at `open_book.passages`, an upper bound of what a reader can answer from them.
    """
    asked = [row for row in rows if row["set"] == ANSWERABLE]
    return sum(_answered_in(row) for row in asked) / len(asked)


def _headed(passage: Passage) -> str:
    """Return the text of a passage below the title of its document, since a passage rarely states its topic."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def _prompt(question: Question, text: str, prompt: str) -> str:
    return prompt.format(passage=text, question=question.question) if text else question.question


def _decode(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompts: Sequence[str], config: EvaluateConfig
) -> list[str]:
    encoded = [encode_prompt(tok, [{"role": "user", "content": prompt}]) for prompt in prompts]
    longest, room = max(map(len, encoded)), model.config.max_position_embeddings - config.max_new_tokens
    if longest > room:
        raise UserError(
            f"An open-book prompt has {longest} tokens, and the model's context leaves room for {room}; lower "
            "open_book.passages or open_book.passage_sentences."
        )
    how: tuple[Any, ...] = config.max_new_tokens, config.beams, config.length_penalty, config.batch_size
    decoded = search(model, tok, encoded, [tok.eos_token_id], *how)
    said = [""] * len(prompts)
    for place, ids in track(decoded, "questions", len(prompts)):
        said[place] = tok.decode(ids, skip_special_tokens=True).strip()
    return said


def _answered_in(row: Row) -> bool:
    words = tokens(row["passage"])
    return any(spans(words, tokens(variant)) for variant in row["accepted"])
