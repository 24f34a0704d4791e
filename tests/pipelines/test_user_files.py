"""User files in any Unicode encoding are read; errors name the file, the line and the remedy."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import user_files
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])
BAD_LINES = [
    ('{"a": "caf\xe9"}'.encode("latin-1"), "not UTF-8; save the file as UTF-8"),
    (b'{"a": ', "not JSON"),
    (b"[1]", "a JSON object is expected"),
    (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
    (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    (b'{"b": "x"}', "'a' must be text"),
    (b'{"a": 3}', "'a' must be text"),
]


@given(
    rows=st.lists(st.dictionaries(st.text(min_size=1), st.text() | st.integers(), max_size=4), min_size=1, max_size=5),
    encoding=ENCODINGS,
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_rows_survive_every_encoding_and_line_end(rows: list[dict[str, object]], encoding: str, line_end: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(line_end.join(json.dumps(row, ensure_ascii=False) for row in rows).encode(encoding))
        assert list(user_files.each_row(path)) == rows


@given(good=st.integers(0, 5), bad=st.sampled_from(BAD_LINES), blank=st.booleans())
def test_bad_line_is_named(good: int, bad: tuple[bytes, str], blank: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b'{"a": "x"}\n' * good + b"\n" * blank + bad[0] + b'\n{"a": "y"}\n')
        with pytest.raises(UserError) as raised:
            list(user_files.each_row(path, ["a"]))
        assert str(raised.value).startswith(f"{path}, line {good + blank + 1}: ")
        assert bad[1] in str(raised.value)


@given(encoding=ENCODINGS)
@settings(max_examples=8, deadline=None)
def test_yaml_is_read_in_every_encoding(encoding: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes('first: "\\ud83d é"\nsecond: [1, 2]\n'.encode(encoding))
        assert user_files.read_yaml(path) == {"first": "\ufffd é", "second": [1, 2]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: 1\nb: caf\xe9\n", "line 2: not UTF-8"),
        (b"a: 1\nb: [\n", "line 3: not YAML"),
        (b"a: 1\nb: {c: d: e}\n", "line 2: not YAML"),
        (b"a: " + b"9" * 5000, "not YAML"),
        (b"a: " + b"[" * 20_000, "nested too deeply"),
        (b"a: \x07", "not YAML"),
        (b"a: !!python/object:os.system {}", "line 1: not YAML"),
        (b"a: 2021-99-99", "not YAML"),
        (b"? [a]\n: 1\n? {b: 1}\n: 2", "not YAML"),
    ],
)
def test_broken_yaml_raises_user_error(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as raised:
        user_files.read_yaml(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_raise_user_error(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        for read in (
            user_files.read_text,
            user_files.read_json,
            user_files.read_yaml,
            lambda p: list(user_files.each_row(p)),
        ):
            try:
                read(path)
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)
