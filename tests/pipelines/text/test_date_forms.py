"""Dates and times are normalised."""

from calendar import month_name
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.normalize import tokens
from pipelines.text.numerals import with_suffix

MONTHS = month_name[1:]


@given(st.dates())
def test_date_forms_are_normalised(day: date) -> None:
    month, ordinal = MONTHS[day.month - 1], with_suffix(day.day)
    forms = [f"{day.day} {month}", f"{month} {day.day}", f"the {ordinal} of {month}", f"{month} {ordinal}"]
    forms += [f"{ordinal} {month}", f"{month} the {ordinal}", f"{day.day} {month[:3]}", f"{month[:3]} {day.day}"]
    year = f"{day.year:04}"
    assert {tuple(tokens(f"{form}, {year}")) for form in forms} == {(str(day.day), month.casefold(), year)}
    assert tokens(day.isoformat()) == [str(day.day), month.casefold(), year]


@pytest.mark.parametrize(
    "forms",
    [
        ["7 p.m.", "7pm", "19:00", "seven p.m.", "7:00 PM"],
        ["7.30 a.m.", "7:30am", "7:30 A.M."],
        ["noon", "12 noon", "12:00 p.m.", "midday"],
        ["midnight", "12 a.m.", "00:00"],
        ["ten o'clock", "10 o’clock", "10"],
        ["Feb 1947", "February 1947", "Feb. 1947"],
        ["the twelfth of December", "December 12", "12th December"],
    ],
)
def test_time_forms_are_normalised(forms: list[str]) -> None:
    assert len({tuple(tokens(form)) for form in forms}) == 1, [tokens(form) for form in forms]


def test_ambiguous_month_names_are_kept() -> None:
    assert " ".join(tokens("They may march in augustly marred order")) == "they may march in augustly marred order"
