"""Names: whole words of any cased script, within a sentence."""

import pytest

from pipelines.text.names import Names, count_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What does GitHub store?", {"GitHub"}),
        ("When did José Álvarez's team meet Ronald McDonald?", {"José Álvarez", "Ronald McDonald"}),
        ("The role of Siân O'Brien in Saint-Juéry.", {"Siân O'Brien", "Saint-Juéry"}),
        ("Его построил Иван Петров.", {"Иван Петров"}),
        ("- Parking is free. “Come in,” said Orr.", {"Orr"}),
        ("THE OLD MILL OF NASA", set()),
    ],
)
def test_names_are_whole_words(text: str, names: set[str]) -> None:
    assert set(count_names([text])) == names


def test_word_that_begins_a_sentence_after_a_quotation_mark_is_no_name() -> None:
    names = Names.of(["“Altered by Orr,” he said."])
    assert not names.has("Altered", "“Altered by Orr,” he said.") and names.has("Orr", "“Altered by Orr,” he said.")
