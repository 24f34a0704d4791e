"""Drafts of evaluation questions from synthesised candidates, for a person to accept: `gradus questions`.

An answerable draft is one question about one fact, in the wording that shares least with its evidence. Its twin is an
unanswerable question that differs in one name. Validation and test ask about different facts, and about different
documents where there are enough. Reads and writes nothing.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest

from pipelines.artifacts import Row
from pipelines.data.dedup.clusters import Groups
from pipelines.evaluation.questions import ANSWERABLE, UNANSWERABLE, Question
from pipelines.runtime.progress import track
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate
from pipelines.synthesis.filters import Novelty, agreement, rouge_l
from pipelines.text.normalize import tokens
from pipelines.text.words import common_prefix

_SWAPS = ("swapped_entity", "out_of_domain_entity")
_SHARES = {"test": 2, "validation": 1}
_MIN_DOCUMENTS = 10  # with fewer, a split by document would leave validation about one or two of them
_END = " .,;:?!？。"

Fact = list[Candidate]
"""The candidates about one fact."""


@dataclass(frozen=True)
class Limits:
    """Parameters of params.yaml that decide when two questions are alike."""

    max_rouge_l: float
    """ROUGE-L above which two questions with the same answer ask about the same fact (`curate.max_rouge_l`)."""
    leak_rouge_l: float
    """ROUGE-L above which a training question is removed as a leak (`curate.leak_rouge_l`)."""
    min_f1: float
    """Token F1 from which two answers are the same (`synthesize.min_reader_f1`)."""


@dataclass(frozen=True)
class Draft:
    """A drafted evaluation question with its evidence."""

    id: str
    set: str
    split: str
    question: str
    kind: str
    document: str
    """Id of the document of its window."""
    sentence: str
    """The evidence, of a twin that of its answerable question; empty for a near miss."""
    window: str
    answer: str = ""
    aliases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    only_wording: bool = False
    """Whether no other question about the fact remains in training, once this one is removed as a leak."""
    twin: str | None = None
    """Id of the answerable draft from which an unanswerable one differs in a name."""

    def as_row(self) -> Row:
        """Return the draft as a row of drafts.jsonl."""
        return asdict(self)


def facts(candidates: Iterable[Candidate], limits: Limits) -> list[Fact]:
    """Group the questions that passed every filter by fact.

    Two are about the same fact if they have the same evidence sentence, or the same answer and similar wordings.
    """
    passed = [each for each in candidates if each.reason is None and each.makes in SHORT_ANSWER]
    groups, known = Groups(), Novelty()
    first: dict[tuple[str, str], int] = {}
    for place, each in enumerate(track(passed, "grouping questions by fact", len(passed))):
        same = [first.setdefault((each.source, each.sentence), place)]
        for other, score in known.near(each.question):
            if score > limits.max_rouge_l and agreement(passed[other].answer, each.answer) >= limits.min_f1:
                same.append(other)
        groups.join((other, place) for other in same)
        known.add(each.question)
    return [[passed[place] for place in sorted(group)] for group in groups.all()]


def unasked(found: Sequence[Fact], asked: Sequence[Question], decided: Collection[str], limits: Limits) -> list[Fact]:
    """Return the facts about which nobody has decided: no answerable question of `asked` is about them.

    `decided` are the evidence sentences of earlier drafts that were accepted or rejected.
    """
    answered = [each for each in asked if each.set == ANSWERABLE]
    known = Novelty([each.question for each in answered])

    def is_asked(each: Candidate) -> bool:
        return each.sentence in decided or any(
            score > limits.max_rouge_l
            and max(agreement(answer, each.answer) for answer in answered[place].accepted) >= limits.min_f1
            for place, score in known.near(each.question)
        )

    compared = track(found, "comparing with your questions", len(found))
    return [fact for fact in compared if not any(map(is_asked, fact))]


def choose(found: Iterable[Fact], most: int, swapped: Collection[str], limits: Limits) -> list[tuple[Candidate, Fact]]:
    """Return at most `most` facts, each with its best question, evenly spread over the documents.

    In each document, facts with another question that remains in training come first: the model should be asked what
    it could learn. Then come those with a question in `swapped`, which has an unanswerable twin.
    """
    by_document: dict[str, list[tuple[tuple[bool, bool, float], int, tuple[Candidate, Fact]]]] = defaultdict(list)
    for place, fact in enumerate(found):
        best = min(fact, key=lambda each: (not _is_trained(each, fact, limits), _overlap(each)))
        no_twin = not any(each.question in swapped for each in fact)
        rank = not _is_trained(best, fact, limits), no_twin, _overlap(best)
        by_document[best.source].append((rank, place, (best, fact)))
    columns = [[each for _, _, each in sorted(ranked)] for _, ranked in sorted(by_document.items())]
    turns = chain.from_iterable(zip_longest(*columns))
    return [each for each in turns if each is not None][:most]


def _is_trained(each: Candidate, fact: Fact, limits: Limits) -> bool:
    """Return whether another question about the fact is different enough to stay in training."""
    words = tokens(each.question)
    return any(
        agreement(other.answer, each.answer) >= limits.min_f1
        and rouge_l(tokens(other.question), words) <= limits.leak_rouge_l
        for other in fact
    )


def _overlap(each: Candidate) -> float:
    """Return ROUGE-L of the question to its evidence."""
    return rouge_l(tokens(each.question), tokens(each.sentence))


def least_literal(wordings: Iterable[Candidate], default: Candidate) -> Candidate:
    """Return the wording that shares least with the evidence; `default` if there is none."""
    return min(wordings, key=_overlap, default=default)


def splits(units: Iterable[str], taken: Mapping[str, str]) -> dict[str, str]:
    """Assign units (documents or facts; one for each draft) to validation and test, 1 : 2 by drafts.

    The largest units come first; units in `taken` keep their split.
    """
    counts, filled, found = Counter(units), Counter[str](), dict[str, str]()
    for unit in sorted(counts, key=lambda each: (each not in taken, -counts[each], each)):
        side = taken.get(unit) or min(_SHARES, key=lambda name: filled[name] / _SHARES[name])
        filled[side] += counts[unit]
        found[unit] = side
    return found


def answerable(
    chosen: Sequence[tuple[Candidate, Fact]], names: Mapping[str, str], taken: Mapping[str, str], limits: Limits
) -> list[tuple[Draft, Fact]]:
    """Return the answerable drafts, without repeated questions.

    `names` are the sources of documents by id, `taken` the splits of documents with earlier drafts.
    """
    documents = {each.source for each, _ in chosen}
    units = [each.source if len(documents) >= _MIN_DOCUMENTS else each.sentence for each, _ in chosen]
    sides = splits(units, taken)
    drafts: dict[str, tuple[Draft, Fact]] = {}
    for (each, fact), unit in zip(chosen, units, strict=True):
        evidence = dict.fromkeys([each.source, *(other.source for other in fact)])
        read = each.read.strip() if each.read else each.answer
        draft = Draft(
            id=_identifier(ANSWERABLE, each.question),
            set=ANSWERABLE,
            split=sides[unit],
            question=each.question,
            kind=each.kind,
            document=each.source,
            sentence=each.sentence,
            window=each.window,
            answer=each.answer,
            aliases=() if tokens(read) == tokens(each.answer) else (read,),
            sources=tuple(names[source] for source in evidence if source in names),
            only_wording=not _is_trained(each, fact, limits),
        )
        drafts.setdefault(draft.id, (draft, fact))
    return list(drafts.values())


def unanswerable(
    rows: Sequence[Row], drafted: Sequence[tuple[Draft, Fact]], windows: Mapping[str, str], most: int
) -> list[Draft]:
    """Return at most `most` unanswerable drafts: near misses, up to half, and twins of the answerable ones.

    `rows` are those of unanswerable.jsonl, `windows` the documents of all windows. A near miss takes the split of its
    document's answerable drafts, so that the splits stay apart.
    """
    side = {draft.document: draft.split for draft, _ in drafted}
    near = {}
    for row in rows:
        document = windows.get(row.get("from", ""), "")
        if row["kind"] == "near_miss" and document in side:
            name = _identifier(UNANSWERABLE, row["question"])
            near[name] = Draft(
                name, UNANSWERABLE, side[document], row["question"], row["kind"], document, "", row["from"]
            )
    swaps = {row["from"]: row for row in rows if row["kind"] in _SWAPS}
    found = (_twin(draft, [swaps[each.question] for each in fact if each.question in swaps]) for draft, fact in drafted)
    twins = {each.id: each for each in found if each is not None}
    kept = list(near.values())[: max(most // 2, most - len(twins))]
    return [*list(twins.values())[: most - len(kept)], *kept]


def _twin(draft: Draft, swaps: Iterable[Row]) -> Draft | None:
    """Return `draft` with a name replaced as in one of `swaps`, which may be of another wording; None without one."""
    for row in swaps:
        before, after = row["from"].split(), row["question"].split()
        start = common_prefix(before, after)
        rest = before[start:][::-1], after[start:][::-1]
        end = common_prefix(*rest)
        name, other = (" ".join(words[end:][::-1]).strip(_END) for words in rest)
        if name and name in draft.question:
            question = draft.question.replace(name, other)
            name, kind = _identifier(UNANSWERABLE, question), row["kind"]
            twin = Draft(name, UNANSWERABLE, draft.split, question, kind, draft.document, draft.sentence, draft.window)
            return replace(twin, twin=draft.id)
    return None


def _identifier(name: str, question: str) -> str:
    return f"{name[0]}-{hashlib.sha256(question.encode()).hexdigest()[:10]}"
