"""Sentence segmentation of several languages, quotations, abbreviations, footnotes and numbered clauses."""

import pytest

from pipelines.text.sentences import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Ames built the mill in 1783.", "It was rebuilt by J. Orr!", "Was it?", "The wheel is 4.5 metres wide."],
        ["He left.", "“Come in,” she said.", "‘No.’", "Then he sat."],
        ['It had been "rather flat."', "(It was.)", '"So it goes," he said.'],
        ["“Altered?” cried Penhallow.", "The driver left."],
        ["Elle est là depuis 1827.", "Élodie Marchand, garde, compte.", "« Il en reste mille. »", "Où va-t-elle ?"],
        ["Der Platz wäre leer.“", "Österreicher zahlen nichts.", "Sie hat z. B. Karten."],
        ["Sie wurde am 3. Oktober 2020 eröffnet.", "Das war 2020.", "Januar ist kalt."],
        ["Мельница стоит у реки.", "Её построил Иван.", "그는 왔다.", "그녀도 왔다."],
        ["It broke.[3]", "The next day it rained."],
        ["See Fig. 3, p. 12 and Art. 5 of the U.S. Code.", "No.", "It is Art.", "Approx. 12 of them met Gen. Lee."],
        ["The shop opens at 9 a.m.", "The museum closes at 5 p.m.", "Tickets cost £5."],
        ["The wall is 5 m.", "It was 20 °C.", "The tank holds 20 l.", "It is in No. 5, p. 12."],
        ["1. Keep the receipt.", "2. Rent. The rent is £5.", "12.1. Disputes are heard here.", "So it is."],
    ],
)
def test_sentences_end_at_punctuation_but_not_at_abbreviations_and_numbers(expected: list[str]) -> None:
    assert split(" ".join(expected)) == expected


def test_chinese_sentences_keep_their_closing_quotation_marks() -> None:
    assert split("建于1783年。“孩子能读书。”她说！？后来烧毁。") == [
        "建于1783年。",
        "“孩子能读书。”",
        "她说！？",
        "后来烧毁。",
    ]


def test_line_break_ends_a_sentence() -> None:
    assert split("The Mill\n\nIt burned.\n") == ["The Mill", "It burned."]
