"""Division of texts into pieces."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.split.pieces import pieces


def test_long_paragraphs_are_divided_into_lines_and_sentences() -> None:
    text = "One.\n\nTwo is long. It ends here.\nAnd a line.\n\nThree."
    assert pieces(text, 100) == ["One.\n\n", "Two is long. It ends here.\nAnd a line.\n\n", "Three."]
    assert pieces(text, 30) == ["One.\n\n", "Two is long. It ends here.\n", "And a line.\n\n", "Three."]
    assert pieces(text, 20) == ["One.\n\n", "Two is long. ", "It ends here.\n", "And a line.\n\n", "Three."]


@given(st.text(alphabet="ab.。 \n!?AZ", max_size=80), st.integers(1, 30))
def test_pieces_concatenate_to_the_text(text: str, longest: int) -> None:
    assert "".join(pieces(text, longest)) == text
