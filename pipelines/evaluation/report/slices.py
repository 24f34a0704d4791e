"""Accuracy on slices of the test questions, by model. Reads and writes nothing.

A single accuracy hides whether a model learnt facts or sentences: 60 to 70% of the test answers of public QA sets occur
in their training answers, and models do far worse on the rest (Lewis et al. 2021, arXiv:2008.02637).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipelines.artifacts import Row
from pipelines.evaluation.comparison import is_desired
from pipelines.evaluation.questions import ANSWERABLE, FORWARD, TEST
from pipelines.evaluation.statements import content_stems
from pipelines.text.normalize import padded

NEARNESS = "nearness to training"
PARAPHRASE, ANSWER_SEEN, NEITHER = "paraphrase of a training question", "answer seen in training", "neither"
MIN_SIMILARITY = 0.6  # Jaccard similarity of the content words of two wordings of one question
CONTRAST_PAIRS = "contrast pairs"

Stems = frozenset[str]


def slices(answers: dict[str, list[Row]], trained: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return each slice's `group` and `title`, number of questions (`count`), and accuracy by model (`accuracy`).

    `answers` holds the rows of answers.jsonl by model, for the same questions; `trained` the questions and answers of
    the training rows. The answerable questions are sliced by nearness to training, direction and kind. A contrast pair
    is correct if the answerable question is answered correctly and its unanswerable twin is refused.
    """
    asked = [row for row in next(iter(answers.values())) if row["split"] == TEST and row["set"] == ANSWERABLE]
    near = Familiarity(trained)
    groups: dict[tuple[str, str], list[str]] = {(NEARNESS, each): [] for each in (PARAPHRASE, ANSWER_SEEN, NEITHER)}
    for row in asked:
        groups[NEARNESS, near.of(row)].append(row["id"])
    for key, title in (("direction", "direction"), ("kind", "asks for")):
        for row in sorted(asked, key=lambda row: (row[key] != FORWARD, str(row[key]))):
            groups.setdefault((title, row[key]), []).append(row["id"])
    found = [
        {
            "group": group,
            "title": title,
            "count": len(ids),
            "accuracy": {model: _share(rows, [[each] for each in ids]) for model, rows in answers.items()},
        }
        for (group, title), ids in groups.items()
        if ids
    ]
    answerable = {row["id"] for row in asked}
    pairs = [(row["id"], row["twin"]) for row in next(iter(answers.values())) if row["twin"] in answerable]
    if pairs:
        accuracy = {model: _share(rows, pairs) for model, rows in answers.items()}
        found.append({"group": CONTRAST_PAIRS, "title": "both as desired", "count": len(pairs), "accuracy": accuracy})
    return found


def plotted(metrics: dict[str, Any]) -> list[Row]:
    """Return the candidate's accuracy by slice, from metrics.json, for `dvc plots`."""
    best = metrics["candidate"]
    return [
        {"slice": f"{each['group']}: {each['title']} ({each['count']})", "accuracy": each["accuracy"][best]}
        for each in metrics["slices"]
    ]


def _share(rows: Sequence[Row], groups: Collection[Collection[str]]) -> float:
    """Return the share of the groups of questions that are all answered as desired."""
    desired = {row["id"] for row in rows if is_desired(row)}
    return round(sum(desired.issuperset(ids) for ids in groups) / len(groups), 6)


class Familiarity:
    """How near the training questions and answers came to a question."""

    def __init__(self, trained: Iterable[tuple[str, str]]) -> None:
        """Index the questions by their content words."""
        rows = list(trained)
        self.questions = sorted({_content(question) for question, _ in rows}, key=sorted)
        self.containing: dict[str, list[int]] = defaultdict(list)
        for place, stems in enumerate(self.questions):
            for each in stems:
                self.containing[each].append(place)
        self.answers = "\n".join(sorted({padded(answer) for _, answer in rows}))

    def of(self, row: Row) -> str:
        """Return the slice of a question: its nearest training question counts first, then its answer."""
        stems = _content(row["question"])
        shared: dict[int, int] = defaultdict(int)
        for each in stems:
            for place in self.containing.get(each, ()):
                shared[place] += 1
        similar = (count / len(stems | self.questions[place]) for place, count in shared.items())
        if max(similar, default=0.0) >= MIN_SIMILARITY:
            return PARAPHRASE
        return ANSWER_SEEN if any(padded(variant) in self.answers for variant in row["accepted"]) else NEITHER


def _content(question: str) -> Stems:
    return frozenset(content_stems(question))
