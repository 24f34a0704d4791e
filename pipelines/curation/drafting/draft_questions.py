"""Draft evaluation questions from what `synthesize` generated; `gradus questions` shows them for review.

This is not a task, because no stage depends on it. Reads artifacts/synthesize/, artifacts/split/ and the questions in
evaluate.questions; writes .gradus/questions/drafts.jsonl, where decided drafts stay. An instruction-tuned
writer is asked for new wordings with the prompt template `paraphrase`; a fine-tuned one cannot write them.
Run alone: python -m pipelines.curation.drafting.draft_questions NUMBER
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.curation.drafting import drafts
from pipelines.curation.drafting.drafts import Fact, Limits
from pipelines.curation.drafting.files import DRAFTS, REJECTED
from pipelines.evaluation import questions
from pipelines.llm import prompts
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.synthesis.candidate import Candidate

REWORD = "paraphrase"
_ANSWERABLE_SHARE = 2 / 3


def draft(synthesized: Path, split: Path, most: int, settings: Config) -> int:
    """Write at most `most` new drafts, two thirds of them answerable; return their number.

    Raises:
        UserError: a file of questions is invalid, or the teacher cannot be reached.
    """
    limits = Limits(settings.curate.max_rouge_l, settings.curate.leak_rouge_l, settings.synthesize.min_reader_f1)
    asked = questions.check(questions.read(settings.evaluate.questions), settings.evaluate.questions)
    earlier = _decided({each.id for each in asked})
    documents = artifacts.read_table(split / "train.parquet")
    names = {row["id"]: row["source"] for row in documents}
    candidates = [Candidate.from_row(row) for row in artifacts.read_rows(synthesized / "candidates.jsonl")]
    rows = artifacts.read_rows(synthesized / "unanswerable.jsonl")
    decided = [row for row in earlier if row["set"] == questions.ANSWERABLE]
    found = drafts.unasked(drafts.facts(candidates, limits), asked, {row["sentence"] for row in decided}, limits)
    swapped = {row["from"] for row in rows if "from" in row}
    chosen = reworded(drafts.choose(found, int(most * _ANSWERABLE_SHARE), swapped, limits), settings)
    answerable = drafts.answerable(chosen, names, {row["document"]: row["split"] for row in decided}, limits)
    windows = {each.window: each.source for each in candidates}
    unanswerable = drafts.unanswerable(rows, answerable, windows, most - len(answerable))
    known = {row["id"] for row in earlier}
    pairs = in_pairs([each for each, _ in answerable], unanswerable)
    new = [each.as_row() for each in pairs if each.id not in known]
    DRAFTS.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_rows(DRAFTS, [*earlier, *new])
    return len(new)


def in_pairs(answerable: Sequence[drafts.Draft], unanswerable: Sequence[drafts.Draft]) -> list[drafts.Draft]:
    """Return all drafts, each twin behind the question it differs from, so that one passage is read for both."""
    twins = {each.twin: each for each in unanswerable}
    pairs = [[each, *([twins[each.id]] if each.id in twins else [])] for each in answerable]
    return [each for pair in pairs for each in pair] + [each for each in unanswerable if each.twin is None]


def reworded(chosen: list[tuple[Candidate, Fact]], settings: Config) -> list[tuple[Candidate, Fact]]:
    """Return the questions in new wordings, as far as the writer can write them and the reader confirms them."""
    writer = settings.teacher.roles.writer
    if not chosen or writer is None or settings.teacher.models[writer].kind == "finetuned":
        say("drafts: the fine-tuned teacher cannot reword questions; the least literal ones it wrote are used.")
        return chosen
    from pipelines.llm.teachers import load_teachers  # these import torch, which is not needed above
    from pipelines.synthesis import expand
    from pipelines.synthesis.validate import Validator

    folder = settings.synthesize.prompts
    recipe, reading, judging = (prompts.load(folder, name, "gradus questions") for name in (REWORD, "reader", "judge"))
    store, batch = ResponseCache(PATH), settings.synthesize.batch_size
    finetuned = artifacts.ARTIFACTS / "teacher"  # the reader may be the fine-tuned model
    teachers = load_teachers(settings.teacher, finetuned, settings.base, settings.compute, batch, store)
    if teachers.writer is None or teachers.reader is None:
        raise UserError("New wordings need a reader; name one in teacher.roles.reader.")
    old = [each for each, _ in chosen]
    written = expand.questions(teachers.writer, recipe, old, 1.0, settings.compute.seed)
    validator = Validator(teachers.reader, teachers.judge, reading, judging, settings.synthesize)
    kept = [each for each in validator.validate(written, recipe.makes) if each.reason is None]
    store.close()
    by_span: dict[tuple[str, int, int], list[Candidate]] = defaultdict(list)
    for each in kept:
        by_span[each.source, each.start, each.end].append(each)
    return [(drafts.least_literal(by_span[each.source, each.start, each.end], each), fact) for each, fact in chosen]


def _decided(accepted: Collection[str]) -> list[artifacts.Row]:
    """Return the earlier drafts that were accepted or rejected, and the twins of these."""
    earlier, rejected = (artifacts.read_rows(path) if path.exists() else [] for path in (DRAFTS, REJECTED))
    decided = {row["id"] for row in rejected} | set(accepted)
    return [row for row in earlier if not decided.isdisjoint((row["id"], row["twin"]))]


if __name__ == "__main__":
    try:
        count = draft(artifacts.read("synthesize"), artifacts.read("split"), int(sys.argv[1]), config.load())
    except UserError as error:
        sys.exit(str(error))
    say(f"drafts: {count} new questions to review")
