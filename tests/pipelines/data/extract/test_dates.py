"""Dates and headings of documents."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import Content
from pipelines.data.extract import markdown, tables
from pipelines.data.extract.dates import parsed
from pipelines.data.extract.web import html


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2021-03-04", "2021-03-04"),
        ("2021-03-04T10:20:30+01:00", "2021-03-04"),
        ("2021/3/4", "2021-03-04"),
        ("2021-03", "2021-03"),
        ("2021", "2021"),
        ("2021年3月4日", "2021-03-04"),
        ("2021年3月", "2021-03"),
        ("2021年", "2021"),
        ("D:20210304102030+01'00'", "2021-03-04"),
        ("20210304", "2021-03-04"),
        ("4 March 2021", "2021-03-04"),
        ("Mar 4, 2021", "2021-03-04"),
        ("March 2021", "2021-03"),
        ("Thu, 04 Mar 2021 10:20:30 GMT", "2021-03-04"),
        (1614853230, "2021-03-04"),
        (1614853230000.0, "2021-03-04"),
        ("1614853230", "2021-03-04"),
        ("1614853230.5", "2021-03-04"),
        ("1614853230000", "2021-03-04"),
        (1614853230000000, "2021-03-04"),
        (1614853230000000000, "2021-03-04"),
        (1998, "1998"),
        (1998.0, "1998"),
        (20210304, "2021-03-04"),
        (20210304102030, "2021-03-04"),
        ("20210304102030", "2021-03-04"),
        ("2021.03", "2021-03"),
        ("2021-063", "2021"),
        (date(1871, 5, 1), "1871-05-01"),
        (datetime(2021, 3, 4, 10, tzinfo=UTC), "2021-03-04"),
    ],
)
def test_common_date_formats_are_parsed(value: Any, found: str) -> None:
    assert parsed(value) == found


@pytest.mark.parametrize(
    "value",
    [
        *[None, "", "soon", "2021-13-04", "2021-02-30", "9999-01-01", "D:", 0, -5, 1e300, True, [2021], "0001-01-01"],
        *["01/02/2021", "1/2/21", "202103", 202103, 12, "12", 1998.5, 20211399, 99999999, 10**400, float("nan")],
        *[2021030412, "2021030412", 202103041200, 5e9, -1614853230, "00001998", "\ud800", "1" * 5000],
    ],
)
def test_invalid_dates_are_none(value: Any) -> None:
    assert parsed(value) is None


def page(head: str, body: str = "<h2>Coming in</h2><p>The bell is rung twice.</p>") -> Content:
    return html.read(f"<html><head>{head}</head><body><main>{body}</main><h2>Related</h2></body></html>".encode(), 1)


@pytest.mark.parametrize(
    "head",
    [
        '<meta property="article:published_time" content="2021-03-04T08:00:00Z">',
        '<meta name="date" content="2021-03-04">',
        '<script type="application/ld+json">{"@type": "Article", "datePublished": "2021-03-04"}</script>',
    ],
)
def test_publication_date_is_read_from_metadata(head: str) -> None:
    assert page(head).date == "2021-03-04"


def test_page_date_and_headings_come_from_main_content() -> None:
    assert page("", '<time datetime="2020-01-02">then</time><p>The bell.</p>').date == "2020-01-02"
    found = page("<title>In the year 2021</title>", "<h1>Bells</h1><h2>Coming in</h2><p>Written on 2021-03-04.</p>")
    assert (found.date, found.headings) == (None, ("Bells", "Coming in"))


def test_markdown_front_matter_and_headings_are_read() -> None:
    found = markdown.read("---\ntitle: Bells\ndate: 2021年3月4日\n---\n# Bells\n\nCome in\n---\n\nText.".encode())
    assert (found.title, found.date, found.headings) == ("Bells", "2021-03-04", ("Bells", "Come in"))


def test_table_rows_have_dates(tmp_path: Path) -> None:
    rows = {"text": ["a", "b"], "published": [date(2021, 3, 4), None], "created": ["x", "2020"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with (tmp_path / "t.parquet").open("rb") as stream:
        assert [each.date for each in tables.table(stream) if isinstance(each, Content)] == ["2021-03-04", "2020"]


ISO = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
DIGITS = st.text("0123456789", min_size=1, max_size=20)


@given(
    st.integers()
    | st.integers(0, 10**19)
    | st.floats()
    | DIGITS
    | st.from_regex(r"[0-9]{1,8}[-/.年 ][0-9]{1,4}([-/.月 ][0-9]{1,4}.*)?", fullmatch=True)
    | st.text(st.characters(exclude_categories=[]))
    | st.dates()
    | st.datetimes()
    | st.none()
    | st.lists(st.integers())
)
def test_any_value_gives_iso_8601_or_none(value: Any) -> None:
    found = parsed(value)
    assert found is None or (ISO.fullmatch(found) and date.fromisoformat((found + "-01-01")[:10]))
    if isinstance(value, int) and abs(value) < 10**8:
        digits = str(value)
        assert found in (None, digits, f"{digits[:4]}-{digits[4:6]}-{digits[6:]}")


@given(st.datetimes(datetime(1973, 4, 1), datetime(2029, 12, 31)), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_epoch_of_any_unit_gives_its_day_or_none(when: datetime, ticks: int) -> None:
    when = when.replace(tzinfo=UTC, microsecond=0)
    number = int(when.timestamp()) * ticks
    assert parsed(number) == parsed(str(number))
    assert parsed(number) in (f"{when:%Y-%m-%d}", None if str(number)[:2] in ("19", "20") else "")
