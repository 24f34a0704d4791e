"""Sample answers during training: some validation questions, answered at every validation and logged as a table.

A curve does not show what a model says: that it repeats itself, stops too late, or refuses everything.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.curation.schema import TrainingRow
from pipelines.inference.generation import respond
from pipelines.models.chat import encode_prompt
from pipelines.models.config import ComputeConfig
from pipelines.models.devices import autocast
from pipelines.models.head import Model, base_of, in_eval_mode
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.models.tuning.apply import without_input_casts
from pipelines.runtime.tracking import Run
from pipelines.training.preview import chosen
from pipelines.training.step import of_rank_0

QUESTIONS = 4  # in a table
NEW_TOKENS = 24
ROWS = 64  # prompts decoded at once
TABLE = "samples.json"
COLUMNS = ("step", "question", "expected", "answer")


class Samples:
    """Answers of the model in training to the same validation questions, of as many kinds as possible."""

    def __init__(
        self, model: Model, tok: PreTrainedTokenizerBase, rows: Sequence[TrainingRow], compute: ComputeConfig, run: Run
    ) -> None:
        """Choose the questions among the validation `rows`, whose last message is the expected answer."""
        self.model, self.tok, self.compute, self.run = model, tok, compute, run
        self.rows = [rows[index] for index in chosen(rows, QUESTIONS)]
        self.prompts = [encode_prompt(tok, row.messages[:-1]) for row in self.rows]

    def log(self, step: int) -> None:
        """Log the answers after `step`, unless the interrupted run has logged its validation of that step."""
        if not self.rows or of_rank_0(step <= self.run.logged.get("train/validation_loss", -1)):
            return
        found = greedy_answers(self.model, self.tok, self.prompts, NEW_TOKENS, self.compute)
        answers = [(row.question, row.answer, answer) for row, answer in zip(self.rows, found, strict=True)]
        self.run.table(TABLE, table_rows(step, answers), COLUMNS)


def table_rows(step: int, answers: Sequence[tuple[str, str, str]]) -> list[Row]:
    """Return the rows of a table of `answers` after `step`: question, expected answer and answer."""
    return [dict(zip(COLUMNS, (step, *answer), strict=True)) for answer in answers]


def greedy_answers(
    model: Model,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    compute: ComputeConfig,
) -> list[str]:
    """Answer `prompts` greedily with at most `new_tokens` tokens each, in eval mode.

    No random number is drawn, so that training is undisturbed.
    """
    base = base_of(model)
    with in_eval_mode(model), autocast(compute, base.device), without_input_casts(model):
        found = dict(respond(base, tok, prompts, stop_ids(base, tok), new_tokens, None, ROWS))
    return [answer_text(tok, found[place]) for place in range(len(prompts))]
