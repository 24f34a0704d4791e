"""Variants of a quantity are normalised to one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.normalize import tokens

FORMS = {
    "percent": ["{}%", "{} %", "{} per cent", "{} percent"],
    "pounds": ["£{}", "£ {}", "{} pounds", "GBP {}", "{} GBP", "{}£", "{} pounds sterling", "{} British pounds"],
    "dollars": ["${}", "US${}", "{} dollars", "USD {}", "{} US dollars", "{} USD"],
    "euros": ["€{}", "{} €", "{} euros", "{} euro", "EUR {}"],
    "yen": ["¥{}", "{} yen", "JPY {}"],
    "pence": ["{}p", "{} pence"],
    "kilometres": ["{} km", "{}km", "{}-km", "{} kilometres", "{} kilometers", "{} kilometre"],
    "metres": ["{} m", "{}m", "{} metres", "{} meters", "{}-metre"],
    "feet": ["{} ft", "{}ft", "{} feet", "{} foot"],
    "kilograms": ["{} kg", "{}kg", "{} kilos", "{} kilograms", "{} kilogram"],
    "weight": ["{} lb", "{}lbs", "{} pounds", "{} pound"],
    "celsius": ["{}°C", "{} °C", "{} C", "{} ℃", "{} degrees Celsius", "{} degrees centigrade", "{} deg C"],
    "speed": ["{} mph", "{}mph", "{} miles per hour", "{} miles an hour"],
    "metric speed": ["{} km/h", "{} kph", "{} kilometres per hour"],
    "hours": ["{} h", "{} hours", "{} hrs", "{} hour"],
    "minutes": ["{} min", "{} mins", "{} minutes", "{}-minute"],
    "seconds": ["{} seconds", "{} secs", "{}-second", "{} s"],
    "area": ["{} km²", "{} sq km", "{} square kilometres", "{} square km"],
    "temperature below zero": ["-{} degrees", "minus {} degrees", "\u2212{}°"],
}


@given(
    st.sampled_from(sorted(FORMS)),
    st.one_of(st.integers(2, 999).map(str), st.decimals(1, 999, places=1).map(str)),
    st.sampled_from(["", "It was ", "约", "(", "about "]),
    st.sampled_from(["", ".", ", they say", "。", ")"]),
)
def test_quantity_variants_yield_equal_tokens(kind: str, amount: str, before: str, after: str) -> None:
    written = {tuple(tokens(before + form.format(amount) + after)) for form in FORMS[kind]}
    assert len(written) == 1, written


@pytest.mark.parametrize(
    "forms",
    [
        ["five pounds", "£5", "£5.00"],
        ["$5 million", "$5m", "five million dollars", "USD 5,000,000"],
        ["two and a half hours", "2½ hours", "2.5 h"],
        ["seventeen thousand five hundred", "17,500", "17 500"],
        ["minus eleven degrees", "-11°"],
        ["twenty-first", "21st", "twenty first"],
        ["sixteen degrees centigrade", "16 °C"],
        ["isn't", "is not", "isnt", "isn’t"],
        ["can't", "cannot", "can not"],
    ],
)
def test_words_and_signs_yield_equal_tokens(forms: list[str]) -> None:
    assert len({tuple(tokens(form)) for form in forms}) == 1, [tokens(form) for form in forms]


@pytest.mark.parametrize("text", ["h2o", "k2", "co2", "3d", "1980s", "80s", "b12", "7up"])
def test_names_with_digits_are_not_quantities(text: str) -> None:
    assert tokens(text.upper()) == [text]


def test_different_quantities_yield_different_tokens() -> None:
    amounts = ["5%", "£5", "$5", "€5", "5p", "5km", "5m", "5ft", "5kg", "5°C", "5°F", "5mph", "5h", "5min"]
    assert len({tuple(tokens(amount)) for amount in amounts}) == len(amounts)
