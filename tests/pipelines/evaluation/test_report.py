"""The terminal table and the HTML page: content, HTML escaping, and determinism."""

import re
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.text import Text
from rich.console import Console

from pipelines.artifacts import Row
from pipelines.config import load
from pipelines.evaluation import comparison, gate
from pipelines.evaluation.metrics import units
from pipelines.evaluation.report import plots
from pipelines.evaluation.report.answers import Answers
from pipelines.evaluation.report.page import changed, hallucinations, page, rows, terminal_table
from pipelines.evaluation.report.slices import slices
from pipelines.evaluation.report.weak_documents import weak_documents
from pipelines.evaluation.retrieval.table import table
from tests.conftest import ROOT
from tests.support.confidences import CURVE as RISKS
from tests.support.confidences import confidence_json
from tests.support.curves import curve_json

pytestmark = pytest.mark.slow

CONFIG = load(ROOT / "params.yaml").compare
NASTY = "<script>alert('in 1783')</script> & more"


def row(name: str, outcome: str, split: str = "test", answer: str = "") -> Row:
    kind = {"a": "answerable", "u": "unanswerable", "g": "general"}[name[0]]
    return {
        "id": name,
        "set": kind,
        "kind": kind,
        "direction": "forward",
        "twin": "a1" if name == "u1" else None,
        "split": split,
        "cluster": name,
        "question": f"What of {name}?",
        "accepted": ["this"] if kind != "unanswerable" else [],
        "answer": answer,
        "verdict": outcome,
        "f1": 0.0,
        "judged": False,
        "invented": [],
        "log_likelihood": -0.5,
    }


def asked(first: str, second: str, unknown: str, answer: str = "") -> list[Row]:
    return [row("a1", first), row("a2", second, answer=answer), row("g1", "correct"), row("u1", unknown, answer=answer)]


ANSWERS = {
    "base": asked("wrong", "wrong", "wrong"),
    "sft": asked("correct", "wrong", "wrong"),
    "dpo": asked("refused", "wrong", "refused", NASTY),
}
VALIDATION = {
    name: [row(f"{each['id']}v", each["verdict"], "validation") for each in rows]
    for name, rows in {**ANSWERS, "ppo": ANSWERS["sft"]}.items()
}
BOTH = Answers(VALIDATION, ANSWERS)
PAIR = ("base", "dpo")
SLICES = slices(ANSWERS, [])
PROTOCOL = {
    "questions": [{"file": "answerable.jsonl", "sha256": "ab12", "test": 335, "validation": 163}],
    "weights": {"base": "cd34", "dpo": "ef56"},
    "decoding": {"num_beams": 4, "max_new_tokens": 40},
    "max_extra_words": 25,
    "judge": False,
    "code": "9876",
    "seed": 17,
}
RULED_OUT = {"worse_than_parent": {"ppo": "sft", "grpo": "base"}, "beyond_limits": ["kto"]}
TEXTS = {name: [{"source": "d", "bits": 10.0, "bytes": 10}] for name in ANSWERS}


def compared() -> dict[str, Any]:
    models = comparison.compare(ANSWERS, TEXTS, 50, 0, 10)
    return {
        "models": models,
        "validation": validation(),
        "candidate": "dpo",
        "parent": "sft",
        **RULED_OUT,
        "open_book": opened(),
        "confidence": confidence_json(candidate="dpo"),
        "abstaining": {"over_refusal": 0.5},
        "slices": slices(ANSWERS, []),
        "weak_documents": [{"document": "mill.md", "questions": 4, "correct": 1, "refused": 1, "wrong": 2}],
        "protocol": PROTOCOL,
        "best_of_n": curve_json(),
        "verdict": judged(),
    }


def validation() -> dict[str, Any]:
    measured = {name: comparison.with_intervals(units(rows), 50, 0, 10) for name, rows in VALIDATION.items()}
    return {"models": measured, "order": list(measured)}


def opened() -> dict[str, Any]:
    """Return the table of the base model and dpo, which answer open book as they do closed book."""
    asked = {name: [row for row in comparison.of(ANSWERS[name], "test") if row["set"] != "general"] for name in PAIR}
    found = {name: [{**row, "passage": "this"} for row in rows] for name, rows in asked.items()}
    return table(asked, found, found["dpo"], None, CONFIG, 0)


def judged() -> dict[str, Any]:
    test = {name: comparison.of(rows, "test") for name, rows in ANSWERS.items()}
    references = [gate.Reference(gate.Role.BASELINE, "base", test["base"])]
    references.append(gate.Reference(gate.Role.PARENT, "sft", test["sft"]))
    return gate.verdict([check for each in references for check in gate.judge(test["dpo"], each, CONFIG, 0)])


def test_terminal_table_has_every_model_its_metrics_and_the_verdict() -> None:
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(terminal_table(compared()))
    text = captured.get()
    assert re.search(r"sft +-1\.00 +50\.0% +0\.0% +0\.0% +66\.7% +100\.0% +1\.000", text)
    assert "dpo *" in text
    assert "neither passed nor failed the gate: too few questions" in text
    assert "…" not in text


def test_page_shows_the_confidence_and_its_certificate() -> None:
    html = page({**compared(), "confidence": confidence_json(0.7, "dpo")}, BOTH, RISKS, CONFIG)
    assert "At most 20% of the answers with a confidence of 0.70 or more are wrong" in html
    assert "share of the answer&#39;s terms in the sentence that supports it best" in html
    assert "47 of 50 correct answers to those of the validation split would be withheld" in html
    assert "about 30 more calibration questions" in page(compared(), BOTH, RISKS, CONFIG)


def test_page_says_who_wrote_the_questions() -> None:
    assert "The questions are hand-written" in page(compared(), BOTH, RISKS, CONFIG)
    renamed = [
        {name: [{**row, "id": f"synthesised-{row['id']}"} for row in rows] for name, rows in split.items()}
        for split in (BOTH.validation, BOTH.test)
    ]
    html = page(compared(), Answers(*renamed), RISKS, CONFIG)
    assert "The questions are synthesised" in html and "hand-written" not in html


def test_page_is_self_contained_and_escapes_text() -> None:
    html = page(compared(), BOTH, RISKS, CONFIG)
    assert html == page(compared(), BOTH, RISKS, CONFIG)
    assert "dpo neither passed nor failed the gate" in html and "ppo scored worse than sft" in html
    assert "grpo scored worse than base, from which it was aligned" in html
    assert "Beyond a limit: kto." in html
    assert "<b>dpo, closed book</b>" in html and "<b>dpo, both</b>" in html
    assert "accuracy +0.0 (" in html and "For 100% of the answerable questions" in html
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(" in html
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", html)
    assert links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:[^\"]*", "", html))


def test_page_lists_questions_fixed_and_broken_since_sft() -> None:
    changes = changed(ANSWERS["sft"], ANSWERS["dpo"])
    assert [(old["id"], old["verdict"], new["verdict"]) for old, new in changes] == [
        ("a1", "correct", "refused"),
        ("u1", "wrong", "refused"),
    ]
    html = page(compared(), BOTH, RISKS, CONFIG)
    assert "sft is its parent, the model that dpo was aligned from." in html
    assert "<strong>Parent.</strong> Score -1.50, sft -1.00" in html and "A loss of" in html
    assert "Fixed (1)" in html
    assert "Broken (1)" in html


def test_models_that_were_not_asked_are_named_and_have_their_validation_answers() -> None:
    html = page(compared(), BOTH, RISKS, CONFIG)
    assert "ppo was not selected, and so not asked the test questions." in html
    assert html.count('<td data-model="ppo" class="faint">not asked</td>') == len(ANSWERS["sft"])
    assert html.count('<td data-model="ppo" data-verdict=') == len(ANSWERS["sft"])
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(terminal_table(compared()))
    assert "Not asked, because not selected: ppo" in captured.get()


def test_page_has_weak_documents_slices_in_groups_and_the_protocol() -> None:
    html = page(compared(), BOTH, RISKS, CONFIG)
    assert "<tr><td>mill.md</td><td>4</td><td>1</td><td>1</td><td>2</td></tr>" in html
    groups = re.findall(r'<tr class="group"><td colspan="5">([^<]*)</td></tr>', html)
    assert groups == ["Nearness to training", "Direction", "Asks for", "Contrast pairs"]
    assert "335 test, 163 validation" in html and "<code>sha256 ef56</code>" in html and "<code>md5 9876</code>" in html
    assert "0.05 over 10 openings of the gate; this one spends 0.005 at most" in html
    assert "max_new_tokens 40, num_beams 4; at most 25 extra words; no judge" in html


def test_verdict_bars_show_every_set_of_both_splits() -> None:
    figure = plots.outcomes(BOTH)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        *("Test: 2 answerable", "Test: 1 unanswerable", "Test: 1 general"),
        *("Validation: 2 answerable", "Validation: 1 unanswerable", "Validation: 1 general"),
    ]
    widths = [[bar.get_width() for bar in bars] for bars in figure.axes[0].containers]
    assert widths == [[0, 0.5, 0], [0, 0, 0.5], [1, 0.5, 0.5]]  # correct, not attempted, wrong of base, sft and dpo


def test_weak_documents_have_the_lowest_accuracy() -> None:
    verdicts = {"a": ("correct", "wrong", "refused"), "b": ("correct",) * 3, "c": ("wrong",) * 2, "d": ("wrong",) * 4}
    rows = [{"set": "answerable", "cluster": name, "verdict": each} for name in verdicts for each in verdicts[name]]
    rows += [{"set": "unanswerable", "cluster": "b", "verdict": "wrong"}] * 9
    found = weak_documents(rows)
    assert [each["document"] for each in found] == ["d", "a", "b"]  # two questions say little
    assert found[1] == {"document": "a", "questions": 3, "correct": 1, "refused": 1, "wrong": 1}


def test_hallucinations_alternate_between_sets_of_test_questions() -> None:
    rows = [row(f"a{n}", "wrong") for n in range(9)] + [row(f"u{n}", "wrong") for n in range(2)]
    assert [each["id"] for each in hallucinations(rows)] == ["u0", "a0", "u1", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]


def test_page_lists_invented_entities_of_the_candidate_and_judged_verdicts() -> None:
    rows = [row("a3", "wrong", answer="It was Vosper.") | {"invented": ["vosper"], "judged": True}]
    longer = Answers(VALIDATION, {name: [*found, *rows] for name, found in ANSWERS.items()})
    html = page(compared(), longer, RISKS, CONFIG)
    assert "1 of 2 attempted answers of dpo to domain questions" in html and "<b>vosper</b>" in html
    assert "changed 3 of these verdicts" in html and "of these verdicts" not in page(compared(), BOTH, RISKS, CONFIG)


def test_page_flags_a_reward_model_that_is_worse_than_a_majority() -> None:
    assert "worse than a majority vote" not in page(compared(), BOTH, RISKS, CONFIG)
    html = page({**compared(), "best_of_n": curve_json(good_reward=False)}, BOTH, RISKS, CONFIG)
    assert "The reward model picks worse than a majority vote: of 4 samples its pick is correct for 0.0%" in html


def test_bits_per_byte_is_omitted_without_held_out_text() -> None:
    models = comparison.compare(ANSWERS, {name: [] for name in ANSWERS}, 50, 0, 10)
    found = {**compared(), "models": models, "slices": []}
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(terminal_table(found))
    assert "Bits" not in captured.get()
    assert "bits per byte is left out" in page(found, BOTH, RISKS, CONFIG)


def test_models_are_in_the_order_of_the_parameters() -> None:
    sorted_by_json = dict(sorted(compared()["models"].items()))
    metrics = {**compared(), "models": sorted_by_json, "order": ["base", "sft", "dpo"]}
    assert list(rows(metrics)) == ["base", "sft", "dpo"]
    html = page(metrics, BOTH, RISKS, CONFIG)
    found = re.findall(r"<td><b>(base|sft|dpo|ppo)</b></td>", html)
    assert found == ["base", "sft", "dpo", "base", "sft", "dpo", "ppo"]  # the test and the validation questions
    assert "How the candidate was selected" in html


def test_tradeoff_labels_do_not_overlap() -> None:
    models = {f"model{number}": compared()["models"]["sft"] for number in range(8)}
    figure = plots.tradeoff(models)
    figure.draw_without_rendering()
    boxes = sorted(
        (Text.get_window_extent(text) for text in figure.axes[0].texts),  # excludes the line to the point
        key=lambda box: box.y0,
    )
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))
