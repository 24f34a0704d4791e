"""Retry-After: seconds, milliseconds or a date; the wait is bounded, and invalid values raise no error."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipelines.runtime.retry_after import seconds

THEN = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "4"}, 4.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After": "3600"}, 60.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:41 GMT", "Date": THEN}, 4.0),
        ({"Retry-After": "Sunday, 06-Nov-94 08:49:41 GMT", "Date": THEN}, 4.0),
        ({"Retry-After": "Sun Nov  6 08:49:41 1994", "Date": THEN}, 4.0),
        ({"Retry-After": THEN}, 0.0),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "-3"}, 0.5),
        ({"Retry-After": "²"}, 0.5),
        ({"Retry-After": "nan"}, 0.5),
        ({}, 0.5),
    ],
)
def test_retry_after_seconds(headers: dict[str, str], wait: float) -> None:
    assert seconds(CIMultiDict(headers), 0.5, 60.0) == wait


def test_missing_date_header_defaults_to_now() -> None:
    until = formatdate(time.time() + 40, usegmt=True)
    assert 30 < seconds(CIMultiDict({"Retry-After": until}), 0.5, 60.0) <= 40


@given(st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(lambda each: each.ctime()))
def test_any_header_yields_a_bounded_wait(said: str) -> None:
    assert 0.0 <= seconds(CIMultiDict({"Retry-After": said, "Date": said[::-1]}), 0.5, 60.0) <= 60.0
