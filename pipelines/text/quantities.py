"""Normalization of quantities to digits and the full name of the unit or currency: `£7` and `GBP 7` are `7 pounds`.

A unit abbreviation is expanded only after a number, so that `m` means metres in `5 m` and nowhere else.
"""

import re

from pipelines.text.numerals import in_digits

_CURRENCIES = {"£": "pounds", "$": "dollars", "€": "euros", "¥": "yen", "₹": "rupees", "¢": "cents"}
_CODES = {"GBP": "pounds", "USD": "dollars", "EUR": "euros", "JPY": "yen", "INR": "rupees", "CNY": "yuan"}
_METRIC = {"metre": "meter", "litre": "liter", "gram": "gramme"}
_PLURAL = """mile yard acre hectare tonne ton pound ounce dollar euro cent rupee hour minute day week month year knot
    degree watt kilowatt megawatt volt"""
_ABBREVIATED = """km kilometres, kms kilometres, m metres, cm centimetres, mm millimetres, mi miles, ft feet, yd yards,
    yds yards, ha hectares, kg kilograms, kgs kilograms, g grams, mg milligrams, t tonnes, lb pounds, lbs pounds,
    oz ounces, l litres, L litres, ml millilitres, h hours, hr hours, hrs hours, min minutes, mins minutes,
    sec seconds, secs seconds, yr years, yrs years, mph miles per hour, mi/h miles per hour, kph kilometres per hour,
    km/h kilometres per hour, kmh kilometres per hour, m/s metres per second, kn knots, kt knots, kts knots,
    km2 square kilometres, m2 square metres, m3 cubic metres, W watts, kW kilowatts, MW megawatts, V volts,
    p pence, C degrees celsius, F degrees fahrenheit"""
_SHORT: dict[str, str] = dict(each.split(maxsplit=1) for each in " ".join(_ABBREVIATED.split()).split(", "))
FULL = {
    **{
        form: f"{prefix}{unit}s"
        for prefix in ("", "kilo", "centi", "milli")
        for unit, american in _METRIC.items()
        for form in (f"{prefix}{unit}", f"{prefix}{american}", f"{prefix}{american}s")
    },
    **{unit: f"{unit}s" for unit in _PLURAL.split()},
    **{"foot": "feet", "inch": "inches", "penny": "pence", "kilo": "kilograms", "kilos": "kilograms"},
    **{"centigrade": "celsius", "percentage": "percent", **{code.casefold(): unit for code, unit in _CODES.items()}},
}
"""The canonical name of a unit, by its other forms as tokens."""
UNIT_FORMS = frozenset({*_SHORT, *FULL, *FULL.values()})
"""Abbreviations and other forms of units, which may follow a number."""
UNITS = frozenset(
    {
        *FULL.values(),
        *(each.split()[0] for each in _SHORT.values()),
        "percent",
        "seconds",
        "yen",
        "celsius",
        "fahrenheit",
    }
)

_ANY_CASE = re.ASCII | re.IGNORECASE  # ASCII word boundaries, so that a unit may be followed by another script
_AMOUNT = r"(\d+(?:\.\d+)?)"
_ENDS = r"(?![A-Za-z0-9'])"
_SIGNS = "".join(_CURRENCIES)
_UNIT = "|".join(sorted(_SHORT, key=len, reverse=True))
_FRACTIONS = {"½": ".5", "¼": ".25", "¾": ".75", "half": ".5", "quarter": ".25"}
_MULTIPLES = {"k": " thousand", "m": " million", "bn": " billion", None: ""}

_FRACTION = re.compile(r"(\d*)\s?([½¼¾])", re.ASCII)
_AND_A_HALF = re.compile(r"\b(\d+) and (?:an? )?(half|quarter)\b", _ANY_CASE)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:([, ])\d{3})(?:\1\d{3})*(?!,?\d)", re.ASCII)
_MONEY = re.compile(
    rf"(?:\bUS)?([{_SIGNS}])\s?{_AMOUNT}(?:\s?(m|bn|k){_ENDS}| (thousand|million|billion)\b)?", re.ASCII
)
_MONEY_BEHIND = re.compile(rf"{_AMOUNT}\s?([{_SIGNS}])(?!\s?\d)", re.ASCII)
_CODED = re.compile(rf"\b({'|'.join(_CODES)})\s?{_AMOUNT}", re.ASCII)
_SQUARE = re.compile(rf"(?<=\d)\s?(sq|square|cubic)\b\.?\s+({_UNIT}){_ENDS}", re.ASCII)
_MEASURE = re.compile(rf"(?<![A-Za-z_\d.]){_AMOUNT}[\s-]?({_UNIT}){_ENDS}(?!\.\s?m\b)", re.ASCII)
_REPLACED = {
    r"\s?%|\bper\s?cent\b|(?<=\d)\s?pct\b": " percent ",
    rf"(?:\s?°|(?<=\d)\s?deg\b\.?)\s?(?=[CF]{_ENDS})": " degrees ",
    r"(?<=\d)\s+(?=(?:celsius|centigrade|fahrenheit)\b)": " degrees ",
    rf"(?<=degrees )C{_ENDS}": "celsius",
    rf"(?<=degrees )F{_ENDS}": "fahrenheit",
    r"°": " degrees ",
    r"\b(pounds?) sterling\b": r"\1",
    r"\b(?:US|American|UK|British) (?=(?:dollars?|pounds?)\b)": "",
    r"\b(miles|kilometres|kilometers)\s+an\s+hour\b": r"\1 per hour",
    r"(?<!\d{4})(?<=\d)[\s-](?:2nd|s)\b": " seconds",
    r"(?:(?<=[\s(])|^)[-\u2212\u2013](?=\d)|\b(?:minus|negative)\s+(?=\d)": "-",
}
_PATTERNS = [(re.compile(pattern, _ANY_CASE), form) for pattern, form in _REPLACED.items()]


def whole_fractions(text: str) -> str:
    """Convert `2½` to 2.5. Must run before NFKC, which would turn it into 21/2."""
    return _FRACTION.sub(lambda found: f"{found[1] or 0}{_FRACTIONS[found[2]]}", text)


def amounts(text: str) -> str:
    """Normalize the quantities in `text` (NFKC): numbers in digits, followed by the full unit or currency."""
    text = _THOUSANDS.sub(lambda found: re.sub(r"[, ]", "", found[0]), text)
    text = _MONEY.sub(_money, text)
    text = _MONEY_BEHIND.sub(lambda found: f"{found[1]} {_CURRENCIES[found[2]]} ", text)
    text = _CODED.sub(lambda found: f"{found[2]} {_CODES[found[1]]}", text)
    text = in_digits(text)
    text = _AND_A_HALF.sub(lambda found: found[1] + _FRACTIONS[found[2].casefold()], text)
    text = _SQUARE.sub(lambda found: f" {'cubic' if found[1] == 'cubic' else 'square'} {_SHORT[found[2]]}", text)
    text = _MEASURE.sub(lambda found: f"{found[1]} {_SHORT[found[2]]}", text)
    for pattern, form in _PATTERNS:
        text = pattern.sub(form, text)
    return text


def _money(found: re.Match[str]) -> str:
    scale = f" {found[4]}" if found[4] else _MULTIPLES[found[3]]
    return f"{found[2]}{scale} {_CURRENCIES[found[1]]} "
