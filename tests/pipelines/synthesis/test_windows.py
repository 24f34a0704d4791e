"""Windows: every sentence is new in exactly one window of bounded length."""

from itertools import pairwise

from pipelines.synthesis.windows import windows
from pipelines.text.sentences import sentences
from tests.conftest import tiny_tokenizer

TEXT = (
    "Dr. Ames built the mill in 1783. It burned down.\nIt was rebuilt by J. Orr! Was it? The wheel is 4.5 metres wide."
)


def test_sentences_end_at_punctuation_and_line_breaks_but_not_at_abbreviations() -> None:
    found = [TEXT[start:end] for start, end in sentences(TEXT)]
    assert found == [
        "Dr. Ames built the mill in 1783.",
        "It burned down.",
        "It was rebuilt by J. Orr!",
        "Was it?",
        "The wheel is 4.5 metres wide.",
    ]


def test_chinese_sentences_are_split_without_spaces() -> None:
    text = "磨坊建于1783年。它后来被烧毁。"
    assert [text[start:end] for start, end in sentences(text)] == ["磨坊建于1783年。", "它后来被烧毁。"]


def test_each_sentence_is_new_in_one_window_that_contains_it() -> None:
    found = list(windows(TEXT, "The mill", tiny_tokenizer(), size=40, overlap=15))
    new = [sentence for window in found for sentence in window.sentences]
    assert [each.text for each in new] == [TEXT[start:end] for start, end in sentences(TEXT)]
    assert all(TEXT[each.start : each.end] == each.text for each in new)
    assert all(each.text in window.text for window in found for each in window.sentences)
    assert all(window.text == f"The mill\n{TEXT[window.start : window.end]}" for window in found)


def test_windows_are_bounded_and_overlap() -> None:
    tok = tiny_tokenizer()
    text = " ".join(f"Keeper number {number} rang the bell twice." for number in range(30))
    texts = [window.text for window in windows(text, "", tok, size=60, overlap=20)]
    assert len(texts) > 5
    assert all(len(tok(window)["input_ids"]) <= 65 for window in texts)
    assert all(first[-20:] in second for first, second in pairwise(texts))
