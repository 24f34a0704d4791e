"""Number words to digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.numerals import in_digits, with_suffix

WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
ONES, TENS = WORDS.split()[:20], WORDS.split()[20:]


def spelled(number: int, hyphen: str, joint: str) -> str:
    """Spell `number` in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"{hyphen}{ONES[number % 10]}" if number % 10 else "")
    name, size = next(
        (name, size) for name, size in (("million", 10**6), ("thousand", 1000), ("hundred", 100)) if number >= size
    )
    rest = number % size
    between = joint if rest < 100 else " "
    return f"{spelled(number // size, hyphen, joint)} {name}" + (between + spelled(rest, hyphen, joint) if rest else "")


@given(st.integers(0, 999_999_999), st.sampled_from(["-", " "]), st.sampled_from([" and ", " "]))
def test_spelled_numbers_become_digits(number: int, hyphen: str, joint: str) -> None:
    assert in_digits(f"They had {spelled(number, hyphen, joint)} of them") == f"They had {number} of them"


@given(st.integers(1000, 2099).filter(lambda year: year % 100))
def test_spelled_years_become_digits(year: int) -> None:
    first, second = divmod(year, 100)
    said = f"oh {ONES[second]}" if second < 10 else spelled(second, "-", " ")
    assert in_digits(f"in {spelled(first, '-', ' ')} {said}") == f"in {year}"


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("five, six and seven", "5, 6 and 7"),
        ("a hundred men, a thousand ships", "100 men, 1000 ships"),
        ("nineteen hundred and five", "1905"),
        ("2.5 million, five point four", "2500000, 5.4"),
        ("the twenty-first and the two hundred and sixth", "the 21st and the 206th"),
        ("the hundredth, twelfth, third", "the 100th, 12th, 3rd"),
        ("someone, often, weighty", "someone, often, weighty"),
        ("five second prizes", "5 2nd prizes"),
    ],
)
def test_number_words_become_digits(text: str, digits: str) -> None:
    assert in_digits(text) == digits


def test_ordinals_have_their_suffix() -> None:
    assert [with_suffix(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112, 123)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th", "123rd"]
    )
