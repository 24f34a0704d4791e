"""Statements: list items and table rows are; headings, questions, header rows and code are not."""

import pytest

from pipelines.data.statements import document_sentences


def stated(text: str) -> list[str]:
    sentences = list(document_sentences(text))
    assert all(text[each.start : each.end] == each.text for each in sentences)
    return [each.text for each in sentences if each.is_statement]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("THE MILL\n\nIt burned. Who knows?\n“Why?”", ["It burned."]),
        ("Costs\n- Parking costs £5\n- \n* Who pays?", ["Parking costs £5"]),
        ("1. Send the form\n\n2. Wait\n\n(a) keep it", ["Send the form", "Wait", "keep it"]),
        ("1. Rights and duties of all\nThey pay.\n2. Rules\nNone.", ["They pay.", "None."]),
        ("J. Orr built it.\n2.5 million live here.", ["J. Orr built it.", "2.5 million live here."]),
        ("Leave\nType | Days\nAnnual | 27\n\nPlot 1 | Mr Dass", ["Annual | 27", "Plot 1 | Mr Dass"]),
        ("Opening hours | Monday\nAddress | Mill Lane", ["Opening hours | Monday", "Address | Mill Lane"]),
        ("– | Monday\nMuseum | 12 hours\n– | 4 hours", ["Museum | 12 hours", "– | 4 hours"]),
        ("Use the command ls | wc to count the files.", ["Use the command ls | wc to count the files."]),
        ("Fees ..........\n\n-\n\n– –", []),
        ("3. Oktober ist Feiertag.", ["3. Oktober ist Feiertag."]),
        ("Home | About | Contact\n\nIt burned.", ["It burned."]),
        ("Run it:\n~~~~\nx = 1\nexit\n~~~~\nIt waits.", ["Run it:", "It waits."]),
        ("Run it.\n```\nsubmit(4711)\n```\nIt waits.", ["Run it.", "It waits."]),
    ],
)
def test_statements_of_a_document(text: str, statements: list[str]) -> None:
    assert stated(text) == statements


def test_table_row_has_the_header_of_its_table() -> None:
    text = "Type | Days\nAnnual | 27\nStudy | 5\n\nRoom 1 | Ada\nRoom 2 | Tom\n\nSo it is."
    assert [each.header for each in document_sentences(text)] == ["", "Type | Days", "Type | Days", "", "", ""]


def test_underlined_headings_open_no_code() -> None:
    assert stated("Manual\n~~~~~~~~\n\nIt needs 12 volts.\n\nAssembly\n~~~~~~~~\n\nScrew it on.") == [
        "It needs 12 volts.",
        "Screw it on.",
    ]
