"""An LLM judge for answers that the rules call wrong: right in another wording, or a refusal in another form.

The judge compares one answer with the reference (pointwise, reference-guided: Zheng et al. 2023, arXiv:2306.05685,
section 3.1), with the three verdicts of SimpleQA (Wei et al. 2024, arXiv:2411.04368). It is used only if it agrees with
the labels of hand-labelled outputs that the rules call wrong, since it reviews no others.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import scoring
from pipelines.evaluation.questions import Question
from pipelines.evaluation.verdicts.labels import FILE, Labelled, kappa, read, refusal_patterns
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe, load
from pipelines.llm.teachers import load_judge
from pipelines.llm.verdicts import letter
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

MIN_REVIEWED = 100
"""With fewer labelled outputs that the rules call wrong, the standard error of kappa exceeds 0.06, and a limit of 0.8
decides little."""
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
        UserError: no judge is configured, or it cannot be used according to the labels (`calibrate`).
    """
    config = settings.evaluate
    if not config.judge:
        return None
    path = config.labels / FILE
    labelled = read(path)
    how = settings.curate.refusal, config.max_extra_words
    rules = [scoring.verdict(each.answer, each.question, *how) for each in labelled]
    say(f"evaluate: {refusal_patterns([each.label for each in labelled], rules)} on {path}")
    store = ResponseCache(PATH)
    model = load_judge(settings.teacher, settings.base, settings.compute, settings.synthesize.batch_size, store)
    judge = Judge(model.ask, load(config.labels, config.judge_prompt.stem))
    reviewed = [each for each, verdict in zip(labelled, rules, strict=True) if verdict == "wrong" and each.answer]
    return judge, calibrate(judge, reviewed, config.min_judge_agreement, path)


def calibrate(judge: Judge, reviewed: Sequence[Labelled], least: float, path: Path) -> float:
    """Return Cohen's kappa between `judge` and the labels of `path` that it would review, those the rules call wrong.

    On all labels kappa is higher, because the rules have decided the easy ones.

    Raises:
        UserError: there are fewer than `MIN_REVIEWED` such labels, or kappa is below `least`.
    """
    if len(reviewed) < MIN_REVIEWED:
        raise UserError(
            f"evaluate.judge is on, but the rules call only {len(reviewed)} labelled outputs of {path} wrong, and a "
            f"judge is calibrated on at least {MIN_REVIEWED} of them; label more, or set evaluate.judge to false."
        )
    labels = [each.label for each in reviewed]
    verdicts = judge.verdicts([(each.question, each.answer) for each in reviewed], "calibrating the judge")
    agreement = kappa(labels, verdicts)
    which = f"the {len(reviewed)} labelled outputs of {path} that the rules call wrong"
    said = f"the judge's agreement with {which} is κ = {agreement:.2f}"
    if agreement < least:
        raise UserError(
            f"evaluate.judge is on, but {said}, below evaluate.min_judge_agreement ({least:g}); name a better model in "
            "teacher.roles.judge, or set evaluate.judge to false."
        )
    accepted = [label for label, verdict in zip(labels, verdicts, strict=True) if verdict == "correct"]
    say(f"evaluate: {said}; of the {len(accepted)} that it finds correct, {accepted.count('correct')} are")
    return agreement


def review(rows: Sequence[Row], judge: Judge) -> list[Row]:
    """Return the rows of answers.jsonl, in which the judge has reviewed each answer that the rules call wrong.

    Where it finds `correct` or `refused`, that becomes the verdict and `judged` is true. Empty answers and choices are
    not reviewed.
    """
    due = [at for at, row in enumerate(rows) if row["verdict"] == "wrong" and row["answer"] and not row["choices"]]
    verdicts = judge.verdicts([(Question.of(rows[at]), rows[at]["answer"]) for at in due], "judging answers")
    changed = {at: other for at, other in zip(due, verdicts, strict=True) if other not in (None, "wrong")}
    found = Counter(changed.values())
    say(f"the judge changed {found['correct']} of {len(due)} wrong answers to correct, {found['refused']} to refused")
    return [row | {"verdict": changed[at], "judged": True} if at in changed else row for at, row in enumerate(rows)]
