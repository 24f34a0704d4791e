"""The signals of an answer: what the documents say of it, and its likelihood."""

import numpy as np
import pytest

from pipelines.evaluation.confidence import reader as reading
from pipelines.evaluation.confidence.reader import Reader
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.confidence.signals import measure
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import passages
from pipelines.llm import prompts
from pipelines.models.messages import Message
from tests.conftest import ROOT, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

TEXT = """The tide mill of Brunnick was built by Emeric Vosper in 1731. The ferry sails on Saturdays from the quay.
Tamsin Oddery keeps the harbour, and the lighthouse was painted by Silas Hobrecht."""
DOCUMENTS = [{"source": "mill.md", "title": "Brunnick", "text": TEXT}]


def signals(pairs: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    tok = tiny_tokenizer()
    index = Index(list(passages(DOCUMENTS, 2)))
    questions, answers = zip(*pairs, strict=True)
    model = tiny_model(tok).eval()
    reader = Reader(model, tok, prompts.load(ROOT / "data/prompts", "reader"))
    values = measure(model, tok, index, reader, questions, answers, batch_size=2)
    assert values.shape == (len(pairs), len(SIGNALS))
    return dict(zip(SIGNALS, values.T, strict=True))


def test_a_stated_answer_has_more_support_than_an_invented_or_an_irrelevant_one() -> None:
    question = "Who built the tide mill of Brunnick?"
    found = signals(
        [
            (question, "The tide mill was built by Emeric Vosper."),
            (question, "The tide mill was built by Lambert Cheswin."),
            (question, "The lighthouse was painted by Silas Hobrecht."),
            (question, "Xyzzy."),
        ]
    )
    assert found["support"].argmax() == 0 and found["support"][3] == 0
    assert found["grounding"][0] > found["grounding"][1]
    assert found["match"][0] > found["match"][2]
    assert np.ptp(found["best_match"]) == 0  # of the question alone
    assert found["novelty"][2] > found["novelty"][0]


def test_reading_is_the_share_of_the_readers_answer_that_the_answer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    prompted: list[Message] = []

    def say(_: object, __: object, prompts: list[list[Message]], **___: object) -> list[str]:
        prompted.extend(messages[-1] for messages in prompts)
        return ["Emeric Vosper", "Emeric Vosper", "Not stated.", "文中未提及。"]

    monkeypatch.setattr(reading, "generate", say)
    question, stated = "Who built the tide mill?", "It was built by Emeric Vosper in 1731."
    pairs = [(question, stated), (question, "Vosper."), (question, stated), ("谁建造了磨坊？", "Vosper.")]
    found = signals([*pairs, ("Qwerty?", "Xyzzy.")])["reading"]  # no passage shares a term with the last
    assert found[0] == 1 and 0 < found[1] < 1 and list(found[2:]) == [0, 0, 0]
    assert len(prompted) == 4 and all("Brunnick\nThe tide mill" in each["content"] for each in prompted)


def test_source_tag_of_an_answer_is_not_compared_with_the_documents() -> None:
    question, answer = "Who built the tide mill of Brunnick?", "The tide mill was built by Emeric Vosper."
    found = signals([(question, answer), (question, f"{answer} Source:0a1b2c3d")])
    for name in ("grounding", "support", "match", "echo", "novelty"):
        assert np.ptp(found[name]) == 0, name


def test_likelihoods_do_not_depend_on_the_batch() -> None:
    pairs = [("Who built the mill?", "Vosper."), ("When does the ferry sail from the quay?", "On Saturdays, at noon.")]
    together, alone = signals(pairs), [signals([pair]) for pair in pairs]
    for name in ("log_likelihood", "agreement"):
        assert together[name] == pytest.approx([float(each[name][0]) for each in alone], abs=1e-4)
        assert (together[name] < 0).all()
