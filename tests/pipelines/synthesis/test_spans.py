"""Answer spans: names, numbers, dates and clauses."""

import pytest

from pipelines.synthesis.spans import propose


@pytest.mark.parametrize(
    ("sentence", "span", "kind"),
    [
        ("The mill was restored by Wilmot Fanthorn.", "Wilmot Fanthorn", "name"),
        ("The survey was finished on 4 May 1742.", "4 May 1742", "date"),
        ("The reservoir holds 41,000 gallons.", "41,000 gallons", "number"),
        ("Entry costs £2.50 for adults.", "£2.50", "number"),
        ("The village was abandoned because its wells turned salt.", "its wells turned salt", "cause"),
        ("The doors are shut to keep the smoke in.", "to keep the smoke in", "purpose"),
        ("The bell is rung before the sluice is opened.", "before the sluice is opened", "condition"),
        ("这座磨坊建于1783年，因为河水很急。", "河水很急", "cause"),
    ],
)
def test_span_of_each_kind_is_proposed(sentence: str, span: str, kind: str) -> None:
    assert (span, kind) in propose(sentence, most=6, max_words=12)


def test_spans_are_verbatim_disjoint_and_bounded() -> None:
    sentence = "In 1783 Emeric Vosper built the Long Hand of 600 stones because the harbour silted up."
    found = [span for span, _ in propose(sentence, most=3, max_words=4)]
    assert len(found) == 3
    assert all(span in sentence and len(span.split()) <= 4 for span in found)
    assert not any(a != b and a in b for a in found for b in found)


def test_sentence_without_facts_has_no_span() -> None:
    assert propose("so it goes.", most=3, max_words=12) == []


def test_number_ends_with_its_digits_or_unit() -> None:
    text = "The tenant found it in 1927, walked home and told nineteen scholars of 2,870 moths."
    spans = propose(text, 8, 12)
    assert {("1927", "date"), ("nineteen scholars", "number"), ("2,870 moths", "number")} <= set(spans)
    assert not any("walked" in span or "tenant" in span for span, _ in spans)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The bakery opens at 5:30.", {"5:30"}),
        ("Blasting takes place at 14:00.", {"14:00"}),
        ("In 2019 sales rose by 5%.", {"2019", "5%"}),
        ("The tenancy of Act 1985 applies.", {"1985"}),
        ("Section 11 applies to greenhouse 40 if it failed.", {"11", "40"}),
        ("It has 640 metres of shelving 22 nautical miles away.", {"640 metres of shelving", "22 nautical miles"}),
        ("A fait planter 300 chênes.", {"300 chênes"}),
        ("It is £1,150 per month and £2.4 million in all.", {"£1,150 per month", "£2.4 million"}),
        ("The road is 1600 metres long, for 18 million cubic metres.", {"1600 metres", "18 million cubic metres"}),
        ("They met two clergymen at 9 am.", {"two clergymen", "9 am"}),
        ("It closes at 5 p.m. on Sundays.", {"5 p.m"}),
    ],
)
def test_numbers_are_whole_and_have_their_units(sentence: str, expected: set[str]) -> None:
    assert {span for span, kind in propose(sentence, 8, 12) if kind in ("number", "date")} == expected


def test_names_are_whole_words_of_any_script_and_speech_is_none() -> None:
    found = propose("“I am told,” said Siân O'Brien of Österreich to Иван Петров.", 8, 12)
    assert {span for span, kind in found if kind == "name"} == {"Siân O'Brien of Österreich", "Иван Петров"}
    assert ("《红楼梦》", "name") in propose("他读《红楼梦》。", 8, 12)
