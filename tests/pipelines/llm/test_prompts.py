"""Recipes: prompt files are valid, invalid ones raise a UserError, and answers are parsed despite surrounding noise."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.llm.calls import Reply
from pipelines.llm.prompts import KNOWN, load
from pipelines.runtime.errors import UserError
from tests.support.teachers import PROMPTS

NAMES = sorted(path.stem for path in PROMPTS.glob("*.yaml"))
GOOD = """
version: 3
from: window
makes: text
fields: {question: string, answer: string}
max_tokens: 60
en: {system: Be brief., user: "Of: $window"}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "mine.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_prompt_file_renders_in_both_languages(name: str, language: str) -> None:
    recipe = load(PROMPTS, name)
    filled = {key: f"<{key}>" for key in {*KNOWN[recipe.about], "yes", "no"}}
    call = recipe.call(filled, language, instructed=True)
    shown = call.messages[-1]["content"]
    assert "$" not in shown
    assert (max(call.messages[0]["content"]) >= "一") == (language == "zh")
    if recipe.about not in ("tasks", "answers") and recipe.makes != "quote_then_answer":
        assert "<window>" in shown


def test_user_defined_recipe_is_loaded(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, GOOD), "mine")
    call = recipe.call({"window": "a mill", "other": ""}, "zh", instructed=True)
    assert [message["content"] for message in call.messages] == ["Be brief.", "Of: a mill"]
    assert call.schema is not None and call.schema["required"] == ["question", "answer"]
    assert len(recipe.call({"window": "a"}, "en", instructed=False).messages) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("max_tokens: 60", "max_tokens: 60\ntemprature: 1"), "mine.yaml: temprature"),
        (("$window", "$windw"), r"\$windw is not a placeholder of from: window"),
        (("answer: string", "reply: string"), "fields lacks 'answer'"),
        (("from: window", "from: pages"), "mine.yaml: from"),
        (("max_tokens: 60", "max_tokens: 0"), "mine.yaml: max_tokens"),
        (("en:", "fr:"), "mine.yaml"),
        (("version: 3", "version: [3"), "line 3: not YAML"),
        ((GOOD, ""), "is not a prompt file"),
    ],
)
def test_invalid_prompt_file_raises_user_error(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(written(tmp_path, GOOD.replace(*change)), "mine")


def test_missing_prompt_file_raises_user_error_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no prompt file .*mine\.yaml.*synthesize\.recipes; restore it, or"):
        load(tmp_path, "mine", "synthesize.recipes")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"question": "Why?", "answer": "So."}', {"question": "Why?", "answer": "So."}),
        (
            'Sure! Here it is:\n```json\n{"question": "Why?", "answer": " So. "}\n```',
            {"question": "Why?", "answer": "So."},
        ),
        ("{'question': 'Why?', 'answer': 'So.',}", {"question": "Why?", "answer": "So."}),
        ('{"question": "Why?", "answer": "So', {"question": "Why?", "answer": "So"}),
        ('[{"question": "Why?", "answer": "So."}]', {"question": "Why?", "answer": "So."}),
        ('{"question": "Why?"}', "field_missing"),
        ('{"question": "Why?", "answer": ["So."]}', "field_missing"),
        ('{"question": "Why?", "answer": ""}', "field_missing"),
        ('[1] Here is: {"question": "Why?", "answer": "So."}', {"question": "Why?", "answer": "So."}),
        (
            'Sure {as asked}: ```json\n{"question": "Why?", "answer": "So."}\n```',
            {"question": "Why?", "answer": "So."},
        ),
        (
            'As {"question": "…", "answer": "…"}: {"question": "Why?", "answer": "So."}',
            {"question": "Why?", "answer": "So."},
        ),
        ('{"result": {"question": "Why?", "answer": "So."}}', {"question": "Why?", "answer": "So."}),
        ('{"question": "Why\\ud83d?", "answer": "So."}', "broken_character"),
        ("I will not.", "not_json"),
        ("<html><body>Bad gateway</body></html>", "not_json"),
        ("[1, 2", "not_json"),
    ],
)
def test_answers_are_parsed_leniently_and_never_guessed(tmp_path: Path, text: str, fields: object) -> None:
    assert load(written(tmp_path, GOOD), "mine").parse(Reply(text)) == fields


PROSE = st.lists(
    st.sampled_from(["Sure", "[1]", "{as asked}", "{}", "[", "{", '{"note": 1}', "```json", ":", "\n", "(a)", '"'])
).map(" ".join)
VALUE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), min_size=1).map(
    lambda text: f"x{text}x"
)


@given(PROSE, VALUE, VALUE, st.sampled_from(["", "\n```", " Is that well?", " [2] {b}"]), st.booleans())
def test_json_is_extracted_from_any_prose(before: str, question: str, answer: str, behind: str, plain: bool) -> None:
    fields = {"question": question, "answer": answer}
    text = f"{before} {json.dumps(fields, ensure_ascii=plain)}{behind}"
    assert load(PROMPTS, "summary").parse(Reply(text)) == fields


@given(st.text(st.sampled_from('{}[]":,\\a1\n ')) | st.text())
def test_parsing_never_raises_on_any_text(text: str) -> None:
    found = load(PROMPTS, "summary").parse(Reply(text))
    assert isinstance(found, str) or found.keys() == {"question", "answer"}
    str(found).encode()


def test_list_of_values_becomes_an_enum() -> None:
    judge, rate = load(PROMPTS, "judge"), load(PROMPTS, "rate")
    assert (judge.schema_ or {})["properties"] == {"choice": {"type": "string", "enum": ["A", "B"]}}
    assert (rate.schema_ or {})["properties"]["choice"]["type"] == "integer"
    assert judge.parse(Reply('{"choice": "b"}')) == {"choice": "B"}
    assert judge.parse(Reply('{"choice": "D"}')) == "field_missing"


def test_failed_reply_keeps_its_reason() -> None:
    assert load(PROMPTS, "summary").parse(Reply(None, "budget")) == "budget"
    assert load(PROMPTS, "answer_first").parse(Reply("  ")) == "empty_answer"
    assert load(PROMPTS, "answer_first").parse(Reply(" Why? ")) == {"question": "Why?"}


def test_conversation_requires_complete_turns() -> None:
    recipe = load(PROMPTS, "multi_turn")
    assert recipe.parse(Reply('{"turns": [{"question": "A?", "answer": "b"}]}')) == {
        "turns": [{"question": "A?", "answer": "b"}]
    }
    assert recipe.parse(Reply('{"turns": [{"question": "A?"}]}')) == "field_missing"
