"""A reader that checks answers: what it answers itself to the question, from the documents.

The teacher's adapter is fine-tuned to answer a question from a passage, or to abstain if the passage does not tell
(tasks/teacher.py). A fine-tuned model's most confident errors are true sentences that answer another question. Its
likelihood cannot tell them; a reader of the passage that matches question and answer best gives another answer, or
abstains.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.evaluation.retrieval.index import Index
from pipelines.inference.generation import generate
from pipelines.llm import prompts
from pipelines.llm.prompts import Recipe
from pipelines.models import loading
from pipelines.models.config import ComputeConfig
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

    def read(self, index: Index, questions: Sequence[str], answers: Sequence[str], batch_size: int) -> list[str]:
        """Return the reader's own answer to each question, from the passage that matches question and answer best.

        It is empty if the reader abstains, or no passage shares a term with them.
        """
        found = [index.search(f"{each} {answer}", 1) for each, answer in zip(questions, answers, strict=True)]
        places = [place for place, passage in enumerate(found) if passage]
        languages = [identify(questions[place]) for place in places]
        conversations = []
        for place, language in zip(places, languages, strict=True):
            (passage,) = found[place]
            filled = {"window": f"{passage.title}\n{passage.text}".strip(), "sentence": "", "answer": ""}
            call = self._prompt.call({**filled, "question": questions[place]}, language, instructed=True)
            conversations.append(call.messages)
        said = generate(
            self._model,
            self._tok,
            conversations,
            max_new_tokens=self._prompt.max_tokens,
            temperature=None,
            batch_size=batch_size,
            seed=0,
            what="answers read",
        )
        own = [""] * len(answers)
        for place, language, text in zip(places, languages, said, strict=True):
            own[place] = "" if self._prompt.words(language).is_abstention(text) else text
        return own


def store(weights: Path, prompt_folder: Path, out: Path) -> Path:
    """Copy a reader and its prompt to the folder `out`, from which `Reader.load` reads them; return `out`."""
    shutil.copytree(weights, out)
    shutil.copyfile(prompt_folder / f"{PROMPT}.yaml", out / f"{PROMPT}.yaml")
    return out
