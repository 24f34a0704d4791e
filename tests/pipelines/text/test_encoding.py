"""External strings become encodable, and encodable text is unchanged."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.encoding import encodable, encodable_value, parse_json

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # including surrogates
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=10,
)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert encodable("a \ud83d\ude00 b") == "a 😀 b"
    assert encodable("a \ud83d b \ude00") == "a \ufffd b \ufffd"
    assert parse_json('{"a": "\\ud83d\\ude00", "b": "\\ud83d"}') == {"a": "😀", "b": "\ufffd"}
    assert parse_json('\ufeff["\\\\ud83d"]') == ["\\ud83d"]  # an escaped backslash does not start an escape


@given(ANY_TEXT)
def test_any_text_becomes_encodable(text: str) -> None:
    cleaned = encodable(text)
    cleaned.encode()
    assert encodable(cleaned) == cleaned
    assert [c for c in cleaned if c != "\ufffd" and ord(c) < 0x10000] == [
        c for c in text if not "\ud800" <= c <= "\udfff" and c != "\ufffd" and ord(c) < 0x10000
    ]


@given(JSON)
def test_json_is_parsed_in_any_encoding(value: object) -> None:
    expected = encodable_value(value)
    assert parse_json(json.dumps(value)) == expected
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert parse_json(json.dumps(expected, ensure_ascii=False).encode(encoding)) == expected
