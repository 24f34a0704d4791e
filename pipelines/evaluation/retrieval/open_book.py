"""Answer questions open book, with the passages found by BM25 in the prompt (retrieval-augmented generation).

Lewis et al. 2020, arXiv:2005.11401. Decoding equals closed-book evaluation, so that only the prompt differs. Reads and
writes nothing.
"""

from collections.abc import Sequence
from math import ceil

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.evaluation import scoring
from pipelines.evaluation.asking import decode, judged
from pipelines.evaluation.config import EvaluateConfig, OpenBookConfig
from pipelines.evaluation.questions import ANSWERABLE, UNANSWERABLE, Question, sample
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import Passage
from pipelines.text.normalize import spans, tokens

BOTH = "both"
"""Name of the cascade in metrics and tables."""


def sampled(questions: Sequence[Question], most: int, seed: int) -> list[Question]:
    """Return a random sample of about `most` questions about the documents, in the proportion of their sets."""
    sets = [[each for each in questions if each.set == name] for name in (ANSWERABLE, UNANSWERABLE)]
    share = min(1.0, most / sum(map(len, sets)))
    return sorted(
        (each for asked in sets for each in sample(asked, ceil(share * len(asked)), seed)), key=lambda each: each.id
    )


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
    said = decode(model, tok, prompts, evaluation)
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


def same(closed: Sequence[Row], opened: Sequence[Row]) -> list[Row]:
    """Return the closed-book answers to the questions that were asked open book, in the order of the latter."""
    by_id = {row["id"]: row for row in closed}
    return [by_id[row["id"]] for row in opened]


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


def _answered_in(row: Row) -> bool:
    words = tokens(row["passage"])
    return any(spans(words, tokens(variant)) for variant in row["accepted"])
