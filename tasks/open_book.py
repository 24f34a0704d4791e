"""Open book: ask the baseline and the candidate the test questions again, with passages of the documents in the prompt.

Reads artifacts/select/, both models' directories, the candidate's closed-book answers (artifacts/test/candidate/),
artifacts/split/train.parquet and data/questions/; writes artifacts/open_book/ with <model>.jsonl (answers.jsonl plus
`passage` and `source`, of a sample of the questions) and both.jsonl, the candidate's closed-book answers with the
open-book one in place of each refusal. Nothing is decided by these answers. Run alone: python -m tasks.open_book
"""

from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.comparison import values
from pipelines.evaluation.metrics import units
from pipelines.evaluation.retrieval import open_book
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import passages
from pipelines.evaluation.selection import read
from pipelines.models import devices, loading
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task


def answer(
    models: dict[str, Path], closed: list[Row], documents: Path, out: Path, settings: Config
) -> dict[str, float]:
    """Ask the `models`, by name and the candidate last; return every `<model>.<metric>` and the retrieval's recall.

    `closed` are the candidate's rows of answers.jsonl. Only the documents that models are trained on are searched.

    Raises:
        UserError: a model is called `both`, there is nothing to search, or a prompt exceeds a model's context.
    """
    if open_book.BOTH in models:
        raise UserError(
            f"evaluate.models has a model named {open_book.BOTH!r}, which is a result of open_book; rename it."
        )
    devices.prepare(settings.compute)
    candidate = list(models)[-1]
    config, refusal = settings.open_book, settings.curate.refusal
    test = questions.of_split(questions.TEST, settings.evaluate.questions, settings.evaluate.limit)
    asked = open_book.sampled(test, config.questions, settings.compute.seed)
    index = Index(list(passages(artifacts.read_table(documents), config.passage_sentences)))
    rows: dict[str, list[Row]] = {}
    for name, directory in models.items():
        say(f"{name}, open book")
        model, tok = loading.load(directory, settings.compute, settings.base), loading.tokenizer(directory)
        rows[name] = open_book.answers(model, tok, asked, index, config, settings.evaluate, refusal)
    rows[open_book.BOTH] = open_book.cascade(open_book.same(closed, rows[candidate]), rows[candidate], refusal)
    for name, said in rows.items():
        artifacts.write_rows(out / f"{name}.jsonl", said)
    metrics = {f"{name}.{metric}": each for name, said in rows.items() for metric, each in values(units(said)).items()}
    return metrics | {f"retrieval.recall_at_{config.passages}": round(open_book.recall(rows[candidate]), 6)}


if __name__ == "__main__":
    with task("open_book") as t:
        names = (t.config.compare.baseline, read(t.input("select")).candidate)
        models = {name: t.input(t.config.evaluate.models[name]) for name in names}
        closed = artifacts.read_rows(t.input("test/candidate") / names[-1] / "answers.jsonl")
        t.finish(answer(models, closed, t.input("split") / "train.parquet", t.out, t.config))
        t.run.artifact(t.out)
