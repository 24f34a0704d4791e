"""The preview of training rows shows what is learnt, and names rows that cannot be."""

from pathlib import Path

import pytest

from pipelines.curation.schema import RowKind, TrainingRow
from pipelines.runtime.errors import UserError
from pipelines.training import preview
from pipelines.training.examples import IGNORED
from tests.conftest import tiny_tokenizer
from tests.support.rows import training_row

pytestmark = pytest.mark.slow

ROWS = [
    *(training_row(f"Who keeps lamp {number}?", f"Keeper {number}.") for number in range(3)),
    training_row("Who keeps the sun?"),
    training_row("Name a colour.", "Red is a colour, and so are blue, green and yellow.", RowKind.REHEARSAL),
]
FILE = Path("artifacts/curate/train.jsonl")


def test_page_shows_three_kinds_of_rows_with_their_mask(capsys: pytest.CaptureFixture[str]) -> None:
    tok = tiny_tokenizer()
    examples = preview.encoded(tok, ROWS, FILE)
    assert [each.rehearsed for each in examples] == [False] * 4 + [True]
    page = preview.describe(tok, ROWS, examples, 512)
    assert [line for line in page.splitlines() if line.startswith("##")] == [
        "## Row 1: answer",
        "## Row 4: refusal",
        "## Row 5: rehearsal",
    ]
    assert "⟦Keeper 0.<|im_end|>⟧" in page and "Who keeps lamp 0?" in page and "⟦I don't know.<|im_end|>⟧" in page
    logged = capsys.readouterr().err
    assert "⟦Keeper 0.<|im_end|>⟧" in logged and "no row is longer than max_tokens = 512" in logged
    learnt = sum(label != IGNORED for each in examples for label in each.labels)
    assert preview.learnt_share(examples) == learnt / sum(len(each.ids) for each in examples)
    assert f"{preview.learnt_share(examples):.0%} of them learnt" in page


def test_rejected_rows_are_counted_with_the_limit_that_keeps_them() -> None:
    tok = tiny_tokenizer()
    examples = preview.encoded(tok, ROWS, FILE)
    lengths = [len(each.ids) for each in examples]
    page = preview.describe(tok, ROWS, examples, max(lengths) - 1)
    assert f"1 rows (1 rehearsal) are longer than max_tokens = {max(lengths) - 1} and rejected" in page
    assert f"{lengths[-1] / sum(lengths):.1%} of all tokens; max_tokens = {max(lengths)} keeps all" in page


def test_a_row_that_the_template_rejects_is_named() -> None:
    tok = tiny_tokenizer()
    tok.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + (
        tok.chat_template or ""
    )
    system = {"role": "system", "content": "Be brief."}
    rows = [ROWS[0], TrainingRow([system, *ROWS[1].messages], RowKind.TASK)]
    with pytest.raises(UserError, match=r"artifacts/curate/train\.jsonl, row 2: .*no system role"):
        preview.encoded(tok, rows, FILE)
    tok.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    with pytest.raises(UserError, match=r"row 1: .*writes no end of turn"):
        preview.encoded(tok, rows, FILE)
