"""Windows: every sentence once, whole, inside a window of bounded length."""

from itertools import pairwise

from pipelines.synthesis.sentences import sentences
from pipelines.synthesis.windows import windows
from tests.conftest import tiny_tokenizer

TEXT = (
    "Dr. Ames built the mill in 1783. It burned down.\nIt was rebuilt by J. Orr! Was it? The wheel is 4.5 metres wide."
)


def test_sentences_end_at_stops_and_lines_but_not_at_abbreviations() -> None:
    found = [TEXT[start:end] for start, end in sentences(TEXT)]
    assert found == [
        "Dr. Ames built the mill in 1783.",
        "It burned down.",
        "It was rebuilt by J. Orr!",
        "Was it?",
        "The wheel is 4.5 metres wide.",
    ]


def test_chinese_sentences_need_no_spaces() -> None:
    text = "磨坊建于1783年。它后来被烧毁。"
    assert [text[start:end] for start, end in sentences(text)] == ["磨坊建于1783年。", "它后来被烧毁。"]


def test_each_sentence_comes_once_with_its_place_and_a_window_that_holds_it() -> None:
    tok = tiny_tokenizer()
    found = list(windows(TEXT, "The mill", tok, size=40, overlap=15))
    assert [each.text for each in found] == [TEXT[start:end] for start, end in sentences(TEXT)]
    assert all(TEXT[each.start : each.end] == each.text and each.text in each.window for each in found)
    assert all(each.window.startswith("The mill\n") for each in found)


def test_windows_are_bounded_and_overlap() -> None:
    tok = tiny_tokenizer()
    text = " ".join(f"Keeper number {number} rang the bell twice." for number in range(30))
    texts = list(dict.fromkeys(each.window for each in windows(text, "", tok, size=60, overlap=20)))
    assert len(texts) > 5
    assert all(len(tok(window)["input_ids"]) <= 65 for window in texts)
    assert all(first[-20:] in second for first, second in pairwise(texts))
