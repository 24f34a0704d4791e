"""Answer normalization before comparison."""

import pytest

from pipelines.text.normalize import spans, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Salt-House, of course!", ["salt", "house", "of", "course"]),
        ("ＦＵＬＬ width ﬁ", ["full", "width", "fi"]),
        ("twenty-one of ninety and sixteen", ["21", "of", "90", "and", "16"]),
        ("2,314 or 2 314 people, 1,200,000 stars", ["2314", "or", "2314", "people", "1200000", "stars"]),
        ("In 1742, 300 men", ["in", "1742", "300", "men"]),
        ("5.4 metres at 16°C.", ["5.4", "metres", "at", "16", "degrees", "celsius"]),
        ("£7 and $1,250.50", ["7", "pounds", "and", "1250.50", "dollars"]),
        ("Vitamin A is a vitamin. A good one", ["vitamin", "a", "is", "vitamin", "good", "1"]),
        ("A", ["a"]),
        ("港口建于1796年。", ["港", "口", "建", "于", "1796", "年"]),
        ("Ｂrunnick的「灯塔」", ["brunnick", "的", "灯", "塔"]),
        ("한국 だ", ["한", "국", "だ"]),
        ("", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_spans_are_token_aligned_and_complete() -> None:
    words = tokens("Drace, old Drace, and Draceborough")
    assert spans(words, tokens("Drace")) == [(0, 1), (2, 3)]
    assert spans(words, []) == []
