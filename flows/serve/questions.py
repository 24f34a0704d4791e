"""A local page for accepting drafted evaluation questions: `gradus questions`.

Each draft is shown with its passage, to accept, edit or reject. An accepted question is appended at once to the folder
`evaluate.questions`, where its id marks the draft as decided; rejected ids are in .gradus/questions/rejected.jsonl.
Nothing else in these files is changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.serve.decision_log import Appended, append
from flows.serve.local_page import LocalPage
from flows.serve.passage import documents, passage
from flows.serve.prefect_server import check_free
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation.drafting.files import DRAFTS, REJECTED
from pipelines.evaluation import questions
from pipelines.evaluation.config import CompareConfig
from pipelines.evaluation.questions import ANSWERABLE, SETS, SPLITS, VALIDATION, Question
from pipelines.evaluation.statistics import sample_size

PAGE = "questions.html"
DRAFTED = SETS[:2]
"""The sets that are drafted; questions about general knowledge suit any documents."""
_LISTS = ("aliases", "competing")
NEXT = (
    "The next `gradus run` removes training questions in nearly the same words as accepted ones (curate.leak_rouge_l), "
    "so the model has to know these facts from other wordings and from keyword queries, which cover every sentence. "
    "Questions in your own words cost hardly any training question."
)


class Review:
    """The drafts and the decisions on them; every decision is on disk before the request is answered."""

    def __init__(self, asked: Path, config: CompareConfig) -> None:
        """Load the drafts and the questions of the folder `asked`, to which accepted ones are added.

        Raises:
            UserError: the questions in `asked` are invalid.
        """
        self.asked, self.goals = asked, goals(config)
        self.drafts = {row["id"]: row for row in artifacts.read_rows(DRAFTS)}
        self.rejected = {row["id"] for row in artifacts.read_rows(REJECTED)} if REJECTED.exists() else set[str]()
        self.documents = documents()
        self.written: list[tuple[str, Appended]] = []  # the decisions of this session, by draft
        self.questions = load(asked)

    def next(self) -> Row:
        """Return the content of the page: the progress and the next undecided draft, if any."""
        known = {each.id: each for each in self.questions}
        left = [row for name, row in self.drafts.items() if name not in known and name not in self.rejected]
        state = {
            "progress": [row for row in progress(self.questions, self.goals) if row["set"] in DRAFTED],
            "left": len(left),
            "total": len(self.drafts),
            "undo": bool(self.written),
        }
        if not left:
            return state
        draft, twin = left[0], known.get(left[0]["twin"] or "")
        window = {"source": "", "text": draft["window"]}  # the document may have changed since
        shown = passage(self.documents.get(draft["document"], window), draft["question"], draft["sentence"])
        return {**state, "draft": draft, "passage": shown, "twin": twin.question if twin else None}

    def accept(self, body: Mapping[str, Any]) -> None:
        """Append a draft, as edited on the page, to the questions.

        `body` has its `id`, `question`, `answer`, and the lists `aliases` and `competing`.

        Raises:
            KeyError: there is no such draft.
            UserError: the question cannot be added to the existing ones; the sentence is that of a run.
        """
        draft = self.drafts[body["id"]]
        rows = questions.read(self.asked)
        splits = {each.id: each.split for each in questions.check(rows, self.asked) if each.set == ANSWERABLE}
        row = self._row(draft, body, splits)
        added = {name: [*its, row] if name == draft["set"] else its for name, its in rows.items()}
        checked = questions.check(added, self.asked)
        self.written.append((draft["id"], append(self.asked / f"{draft['set']}.jsonl", [row])))
        self.questions = checked

    def reject(self, body: Mapping[str, Any]) -> None:
        """Record that a draft is not to be used.

        Raises:
            KeyError: there is no such draft.
        """
        name = self.drafts[body["id"]]["id"]
        self.written.append((name, append(REJECTED, [{"id": name}])))
        self.rejected.add(name)

    def undo(self, _: Mapping[str, Any]) -> None:
        """Undo the last decision of this session.

        Raises:
            UserError: the file was changed since.
        """
        if not self.written:
            return
        name, rows = self.written.pop()
        rows.undo(name)
        self.rejected.discard(name)
        self.questions = load(self.asked)

    def _row(self, draft: Row, body: Mapping[str, Any], splits: Mapping[str, str]) -> Row:
        """Return the question as a row of its file; `splits` are those of the answerable questions, by id."""
        texts = {name: str(body[name]).strip() for name in ("question", "answer")}
        row = {"id": draft["id"], "question": texts["question"]}
        if draft["set"] == ANSWERABLE:
            lists = {name: [text for each in body[name] if (text := str(each).strip())] for name in _LISTS}
            row |= {"answer": texts["answer"], **lists, "sources": draft["sources"]}
        row |= {"kind": draft["kind"], "split": draft["split"]}
        if draft["twin"] in splits:
            row |= {"twin": draft["twin"], "split": splits[draft["twin"]]}
        return row


def load(folder: Path) -> list[Question]:
    """Return the questions that exist, which need not suffice for an evaluation yet.

    Raises:
        UserError: one is invalid.
    """
    return questions.check(questions.read(folder), folder)


def goals(config: CompareConfig) -> dict[str, int]:
    """Return by set the test questions that the gates need; a third of the least domain questions is unanswerable."""
    needed = sample_size.needed(config)
    domain = needed.get(sample_size.DOMAIN, 0)
    answerable = max(needed.get(ANSWERABLE, 0), round(domain * 2 / 3))
    return dict(zip(SETS, (answerable, round(domain / 3), needed.get(SETS[2], 0)), strict=True))


def progress(asked: list[Question], needed: Mapping[str, int]) -> list[Row]:
    """Return the number of questions by set and split, with what the gates need; validation needs half as many."""
    count = {split: dict.fromkeys(SETS, 0) for split in SPLITS}
    for each in asked:
        count[each.split][each.set] += 1
    return [
        {
            "set": name,
            "validation": count["validation"][name],
            "validation_needed": -(-needed[name] // 2),
            "test": count["test"][name],
            "test_needed": needed[name],
        }
        for name in SETS
    ]


def serve(console: Console, port: int, settings: Config) -> None:
    """Serve the page until Ctrl-C, then print the progress.

    Raises:
        UserError: the questions in `evaluate.questions` are invalid, or the port is taken.
    """
    check_free(port)
    asked = settings.evaluate.questions
    with page(Review(asked, settings.compare), port) as running:
        running.serve(console, f"accepted questions go to {asked}")
    show(console, settings)


def page(review: Review, port: int) -> LocalPage:
    """Return the server of the page; port 0 picks a free port."""
    actions = {"accept": review.accept, "reject": review.reject, "undo": review.undo}
    return LocalPage(PAGE, review.next, actions, port)


def show(console: Console, settings: Config) -> None:
    """Print the questions by set and split, and how many more the gates need.

    Raises:
        UserError: a question is invalid.
    """
    asked = settings.evaluate.questions
    rows = progress(load(asked), goals(settings.compare))
    table = Table("questions", box=None, header_style="bold")
    for heading in (*SPLITS, "test, missing"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = [f"{row[split]} of {row[f'{split}_needed']}" for split in SPLITS]
        table.add_row(row["set"], *counts, str(max(0, row["test_needed"] - row["test"])))
    console.print(table)
    calibrating, needed = rows[0][VALIDATION], settings.curate.calibration_questions
    for line in (
        f"The second numbers are what the gates need (docs/evaluation.md). The questions are in {asked}.",
        f"Of the {needed} answerable validation questions that calibrate the confidence, there are {calibrating}; with "
        "fewer, `gradus run` holds synthesised questions back from training, to calibrate on them too.",
        NEXT,
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
