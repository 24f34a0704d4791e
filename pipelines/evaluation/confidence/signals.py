"""Signals of an answer's correctness, from the model and from the documents. Reads and writes nothing.

The model's own signals say how likely the answer was; those of the documents whether a sentence states it, and whether
that sentence is about the question. A tuned model's most confident errors are true sentences that answer another
question, which its likelihood cannot tell. A linear probe on hidden states (Orgad et al. 2024, arXiv:2410.02707) was
measured too: with 180 training answers its AUROC was 0.58 to 0.67, and in the mixture it gained nothing.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.evaluation.confidence.reader import Reader
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.support import CANDIDATES
from pipelines.evaluation.statements import content_stems
from pipelines.inference.likelihood import loglikelihoods
from pipelines.models.chat import encode_prompt, encode_text
from pipelines.models.messages import without_source
from pipelines.models.templates.stops import turn_end
from pipelines.runtime.progress import Meter
from pipelines.text.normalize import tokens
from pipelines.text.sentences import sentences
from pipelines.text.stopwords import STOP_WORDS
from pipelines.text.words import words

Floats = NDArray[np.float64]


def measure(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    index: Index,
    reader: Reader | None,
    questions: Sequence[str],
    answers: Sequence[str],
    batch_size: int,
) -> Floats:
    """Return the signals of each answer: [answers, SIGNALS]. Without a reader, its signal is 0."""
    asked = [list(questions), [_keywords(each) for each in questions]]
    meter = Meter("answers", len(asked) * len(questions))
    likelihoods = [_mean_likelihoods(model, tok, each, answers, batch_size, meter) for each in asked]
    meter.close()
    evidence = np.asarray([_evidence(index, *pair) for pair in zip(questions, answers, strict=True)])
    own = [""] * len(answers) if reader is None else reader.read(index, questions, answers, batch_size)
    read = [index.share(_terms(each), _terms(answer)) for each, answer in zip(own, answers, strict=True)]
    return np.column_stack([*likelihoods, evidence.reshape(len(answers), len(SIGNALS) - len(asked) - 1), read])


def _mean_likelihoods(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    questions: Sequence[str],
    answers: Sequence[str],
    batch_size: int,
    meter: Meter,
) -> Floats:
    """Return the mean log-likelihood (nats) of each answer's tokens, with its end of turn: [answers]."""
    prompts = [encode_prompt(tok, [{"role": "user", "content": each}]) for each in questions]
    ids = [[*encode_text(tok, each), turn_end(tok)] for each in answers]
    means = np.zeros(len(answers))
    for place, (total,) in loglikelihoods(model, tok, prompts, [[each] for each in ids], batch_size):
        means[place] = total / len(ids[place])
        meter.step()
    return means


def _keywords(question: str) -> str:
    """Return the question without stop words; a question of stop words is unchanged."""
    kept = [word for word in words(question) if not set(tokens(word)) <= STOP_WORDS]
    return " ".join(kept) or question


def _evidence(index: Index, question: str, answer: str) -> tuple[float, ...]:
    """Return the signals of the documents, for the sentence with the highest support; a source tag is ignored."""
    answer = without_source(answer)
    asked, said = _terms(question), _terms(answer)
    best = (0.0, 0.0, 0.0)  # support, grounding, match
    for passage in index.search(f"{question} {answer}", CANDIDATES):
        around = _terms(f"{passage.title}\n{passage.text}")
        relevance = index.share(asked, around | said)
        for start, end in sentences(passage.text):
            sentence = _terms(passage.text[start:end])
            grounding = index.share(said, sentence)
            best = max(best, (grounding * relevance, grounding, index.share(asked, sentence)))
    support, grounding, match = best
    closest = (_terms(f"{each.title}\n{each.text}") for each in index.search(question, CANDIDATES))
    best_match = max((index.share(asked, each) for each in closest), default=0.0)
    return grounding, support, match, best_match, index.share(asked, said), 1 - index.share(said, asked)


@lru_cache(maxsize=16384)
def _terms(text: str) -> frozenset[str]:
    """Return the index terms of a text; passages and sentences are compared with many answers."""
    return frozenset(content_stems(text))
