"""User conversations: every chat format becomes training rows, and rejected rows are reported."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.curation.user_data import user_rows
from pipelines.runtime.errors import UserError

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "谁修了磨坊？"},
    {"role": "assistant", "content": "Orr."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "1921."},
]


def test_conversations_of_every_format_become_training_rows(tmp_path: Path) -> None:
    artifacts.write_rows(tmp_path / "a.jsonl", [{"messages": CHAT, "source": "d1", "extra": 1}])
    artifacts.write_rows(tmp_path / "b.jsonl", [{"instruction": "Who?", "output": "Orr."}])
    (tmp_path / "README.md").write_text("Not a row.")
    rows, rejects = user_rows(tmp_path)
    assert rejects == [] and [row.kind for row in rows] == ["task", "task"]
    assert rows[0].messages == CHAT and rows[0].source == "d1"


def test_rejection_names_file_and_row(tmp_path: Path) -> None:
    pair = {"prompt": CHAT[1:2], "chosen": CHAT[2:3], "rejected": [{"role": "assistant", "content": "Ely."}]}
    artifacts.write_rows(tmp_path / "a.jsonl", [{"messages": CHAT}, {"messages": CHAT[:2]}, {"x": 1}, pair])
    rows, rejects = user_rows(tmp_path)
    assert len(rows) == 1
    assert [(each.row["question"], each.reason) for each in rejects] == [
        ("a.jsonl, row 2", "own_no_answer"),
        ("a.jsonl, row 3", "own_no_known_form"),
        ("a.jsonl, row 4", "own_pair"),
    ]


def test_missing_folder_has_no_rows_and_a_truncated_file_is_a_user_error(tmp_path: Path) -> None:
    assert user_rows(tmp_path / "none") == ([], [])
    (tmp_path / "torn.jsonl").write_text('{"messages": [\n')
    with pytest.raises(UserError, match=r"torn\.jsonl, line 1: not JSON"):
        user_rows(tmp_path)
