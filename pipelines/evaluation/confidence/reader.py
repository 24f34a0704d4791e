"""A reader as a judge of answers: how likely it finds that the documents do not answer the question.

The teacher's adapter is fine-tuned to answer a question from a passage, or to abstain if the passage does not tell
(tasks/teacher.py). Given the passage that matches question and answer best, its abstention tells true sentences that
answer another question, which the likelihood of the fine-tuned model cannot.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.evaluation.retrieval.index import Index
from pipelines.inference.likelihood import loglikelihoods
from pipelines.llm import prompts
from pipelines.llm.prompts import Recipe
from pipelines.models import loading
from pipelines.models.chat import encode_prompt, encode_text
from pipelines.models.config import ComputeConfig
from pipelines.models.templates.stops import turn_end
from pipelines.runtime.progress import Meter
from pipelines.text.language import identify

FOLDER, PROMPT = "reader", "reader"
"""The folder of a calibrated model's reader, and the name of its prompt file without suffix."""


class Reader:
    """A fine-tuned reader with its prompt."""

    def __init__(self, model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompt: Recipe) -> None:
        """Use a loaded model."""
        self._model, self._tok, self._prompt = model, tok, prompt

    @classmethod
    def load(cls, folder: Path, compute: ComputeConfig) -> "Reader":
        """Load the reader stored in `folder` (`store`), whole or an adapter, with its prompt.

        Raises:
            UserError: the prompt file is missing or invalid.
        """
        return cls(loading.load(folder, compute), loading.tokenizer(folder), prompts.load(folder, PROMPT))

    def abstention(
        self, index: Index, questions: Sequence[str], answers: Sequence[str], batch_size: int
    ) -> NDArray[np.float64]:
        """Return the log-likelihood (nats) of abstaining on the best passage for each question and answer: [answers].

        It is 0, certain abstention, if no passage shares a term with them.
        """
        found = [index.search(f"{each} {answer}", 1) for each, answer in zip(questions, answers, strict=True)]
        read = [place for place, passage in enumerate(found) if passage]
        contexts, abstentions = [], []
        for place in read:
            (passage,), language = found[place], identify(questions[place])
            filled = {"window": f"{passage.title}\n{passage.text}".strip(), "sentence": "", "answer": ""}
            call = self._prompt.call({**filled, "question": questions[place]}, language, instructed=True)
            contexts.append(encode_prompt(self._tok, call.messages))
            abstentions.append([[*encode_text(self._tok, self._prompt.words(language).abstain), turn_end(self._tok)]])
        values, meter = np.zeros(len(answers)), Meter("answers read", len(read))
        for place, (total,) in loglikelihoods(self._model, self._tok, contexts, abstentions, batch_size):
            values[read[place]] = total
            meter.step()
        meter.close()
        return values


def store(weights: Path, prompt_folder: Path, out: Path) -> Path:
    """Copy a reader and its prompt to the folder `out`, from which `Reader.load` reads them; return `out`."""
    shutil.copytree(weights, out)
    shutil.copyfile(prompt_folder / f"{PROMPT}.yaml", out / f"{PROMPT}.yaml")
    return out
