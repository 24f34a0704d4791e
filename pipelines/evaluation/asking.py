"""Ask one model questions, and judge each answer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.evaluation import harness, questions, scoring
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.verdicts.judge import Judge, review
from pipelines.inference.beam_search import Beams, search
from pipelines.models.chat import encode_prompt
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track


def ask(
    model: Any,
    tokenizer: Any,
    asked: list[questions.Question],
    config: EvaluateConfig,
    refusal: str,
    judge: Judge | None,
) -> list[artifacts.Row]:
    """Return one row per question in `asked`, answered closed book: accepted answers, the answer and the verdict.

    `refusal` is the sentence that models are fine-tuned to refuse with. A
    `judge` reviews what the rules call wrong; the column `judged` tells where it changed the verdict. The column
    `log_likelihood` is the mean over the tokens of a decoded answer (nats), and null for a choice.
    """
    answers = harness.answers(model, tokenizer, asked, config.decoding, config.batch_size)
    rows = [
        {
            **judged(question, answers[question.id].text, refusal, config.max_extra_words),
            "log_likelihood": answers[question.id].log_likelihood,
        }
        for question in asked
    ]
    return rows if judge is None else review(rows, judge)


def judged(question: questions.Question, answer: str, refusal: str, max_extra_words: int) -> artifacts.Row:
    """Return the row of a question and a model's answer to it, with the verdict."""
    if question.choices:
        verdict = "correct" if answer == question.accepted[0] else "wrong"
    else:
        verdict = scoring.verdict(answer, question, refusal, max_extra_words)
    return {
        "id": question.id,
        "set": question.set,
        "kind": question.kind,
        "direction": question.direction,
        "twin": question.twin,
        "split": question.split,
        "cluster": question.cluster,
        "question": question.question,
        "accepted": list(question.accepted),
        "competing": list(question.competing),
        "choices": list(question.choices),
        "answer": answer,
        "verdict": verdict,
        "judged": False,
        "f1": round(scoring.f1(answer, question), 6),
    }


def verdict_counts(rows: Iterable[artifacts.Row]) -> dict[str, float]:
    """Return the number of answers by set and verdict, such as `answerable.correct`."""
    counts = Counter((row["set"], row["verdict"]) for row in rows)
    return {
        f"{name}.{verdict}": float(counts[name, verdict]) for name in questions.SETS for verdict in scoring.VERDICTS
    }


def decode(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompts: Sequence[str], config: EvaluateConfig
) -> list[str]:
    """Answer each prompt, as evaluation does.

    Raises:
        UserError: a prompt is too long for the model's context.
    """
    encoded = [encode_prompt(tok, [{"role": "user", "content": prompt}]) for prompt in prompts]
    positions: int = model.config.get_text_config().max_position_embeddings
    longest, room = max(map(len, encoded), default=0), positions - config.max_new_tokens
    if longest > room:
        raise UserError(
            f"A prompt has {longest} tokens, and the model's context leaves room for {room}; shorten the "
            "question or, if it is asked open book, lower open_book.passages or open_book.passage_sentences."
        )
    how = stop_ids(model, tok), config.max_new_tokens, Beams.of(config.decoding), config.batch_size
    decoded = search(model, tok, encoded, *how)
    said = [""] * len(prompts)
    for place, ids, _ in track(decoded, "questions", len(prompts)):
        said[place] = answer_text(tok, ids)
    return said
