"""An LLM judge for answers that the rules call wrong: right in another wording, or a refusal in another form.

The judge compares one answer with the reference (pointwise, reference-guided: Zheng et al. 2023, arXiv:2306.05685,
section 3.1), with the three verdicts of SimpleQA (Wei et al. 2024, arXiv:2411.04368). It is used only if it agrees with
hand-labelled outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation.questions import Question
from pipelines.evaluation.verdicts.labels import FILE, Labelled, kappa, read
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe, load
from pipelines.llm.teachers import load_judge
from pipelines.llm.verdicts import letter
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

_CHOICES = {"A": "correct", "B": "wrong", "C": "refused"}
_UNANSWERABLE = {"en": "(The documents do not answer this question.)", "zh": "（文档没有回答这个问题。）"}


@dataclass(frozen=True)
class Judge:
    """A judge with its prompt."""

    ask: Callable[[Sequence[Call], str], list[Reply]]
    recipe: Recipe

    def verdicts(self, answered: Sequence[tuple[Question, str]], what: str) -> list[str | None]:
        """Return the verdict on each answer to its question; None where the reply asserts none.

        `what` names the work in progress reports. An unanswerable question has no correct answer.
        """
        replies = self.ask([self._call(question, answer) for question, answer in answered], what)
        found = [_CHOICES.get(letter(self.recipe, reply) or "") for reply in replies]
        return [
            "wrong" if verdict == "correct" and not question.accepted else verdict
            for verdict, (question, _) in zip(found, answered, strict=True)
        ]

    def _call(self, question: Question, answer: str) -> Call:
        language = "zh" if question.question.endswith("？") else "en"
        reference = " / ".join(question.accepted) or _UNANSWERABLE[language]
        filled = {"question": question.question, "answer": reference, "first": answer, "second": "", "sentence": ""}
        return self.recipe.call(filled, language, instructed=True)


def calibrated(settings: Config) -> tuple[Judge, float] | None:
    """Return the judge of `evaluate.judge` and its kappa on `evaluate.labels`; None if it is off.

    Raises:
        UserError: no judge is configured, or its kappa is below `evaluate.min_judge_agreement`.
    """
    config = settings.evaluate
    if not config.judge:
        return None
    labelled = read(config.labels / FILE)
    store = ResponseCache(PATH)
    model = load_judge(settings.teacher, settings.base, settings.compute, settings.synthesize.batch_size, store)
    judge = Judge(model.ask, load(config.labels, config.judge_prompt.stem))
    return judge, calibrate(judge, labelled, config.min_judge_agreement, config.labels / FILE)


def calibrate(judge: Judge, labelled: Sequence[Labelled], least: float, path: Path) -> float:
    """Return Cohen's kappa between `judge` and the labels of `path`.

    Raises:
        UserError: it is below `least`.
    """
    verdicts = judge.verdicts([(each.question, each.answer) for each in labelled], "calibrating the judge")
    agreement = kappa([each.label for each in labelled], verdicts)
    said = f"the judge's agreement with the {len(labelled)} labels of {path} is κ = {agreement:.2f}"
    if agreement < least:
        raise UserError(
            f"evaluate.judge is on, but {said}, below evaluate.min_judge_agreement ({least:g}); name a better model in "
            "teacher.roles.judge, or set evaluate.judge to false."
        )
    say(f"evaluate: {said}")
    return agreement


def review(rows: Sequence[Row], judge: Judge) -> list[Row]:
    """Return the rows of answers.jsonl, in which the judge has reviewed each answer that the rules call wrong.

    Where it finds `correct` or `refused`, that becomes the verdict and `judged` is true. Empty answers and choices are
    not reviewed.
    """
    due = [at for at, row in enumerate(rows) if row["verdict"] == "wrong" and row["answer"] and not row["choices"]]
    verdicts = judge.verdicts([(Question.of(rows[at]), rows[at]["answer"]) for at in due], "judging answers")
    changed = {at: found for at, found in zip(due, verdicts, strict=True) if found not in (None, "wrong")}
    return [row | {"verdict": changed[at], "judged": True} if at in changed else row for at, row in enumerate(rows)]
