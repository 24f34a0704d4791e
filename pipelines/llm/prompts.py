"""Prompt templates of synthesis (recipes): one versioned file each, in one or more languages.

A recipe declares its input (`from`), its output (`makes`) and the prompts for the teacher. docs/synthesis.md shows how
to add one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.llm.calls import Call, Reply
from pipelines.llm.json_objects import json_objects
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_yaml

KNOWN: dict[str, frozenset[str]] = {
    "span": frozenset({"window", "sentence", "answer"}),
    "window": frozenset({"window"}),
    "windows": frozenset({"window", "other"}),
    "question": frozenset({"window", "sentence", "question", "answer"}),
    "tasks": frozenset({"examples"}),
    "answers": frozenset({"sentence", "question", "answer", "first", "second"}),
}
"""The placeholders that a prompt may use, by the recipe's input (`from`)."""

FIELDS: dict[str, frozenset[str]] = {
    "question": frozenset({"question", "answer", "evidence"}),
    "wording": frozenset({"questions"}),
    "text": frozenset({"question", "answer"}),
    "instruction": frozenset({"question"}),
    "chat": frozenset({"turns"}),
    "unanswerable": frozenset({"question"}),
    "task": frozenset({"question", "answer"}),
    "read": frozenset({"answer"}),
    "judged": frozenset({"choice"}),
    "quote_then_answer": frozenset(),
}
"""The fields that an answer must have, by the recipe's output (`makes`). A question about a span needs only itself."""

_BROKEN = "\ufffd"
"""The replacement character of a lone surrogate or an undecodable byte."""

_TURN = {"type": "object", "properties": {"question": {"type": "string"}, "answer": {"type": "string"}}}
_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "turns": {"type": "array", "items": {**_TURN, "required": ["question", "answer"], "additionalProperties": False}},
}


Kind = Literal["string", "strings", "turns"] | list[str] | list[int]


class Strict(BaseModel):
    """Part of a prompt file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptText(Strict):
    """The prompts in one language, with placeholders such as `$window`."""

    system: str = ""
    """System prompt; omitted for the fine-tuned teacher, which does not need these tokens."""
    user: str
    abstain: str = ""
    """The reader's answer when the passage does not contain one."""

    def is_abstention(self, text: str) -> bool:
        """Return whether a reader's answer says that the passage does not contain one."""
        sentence = self.abstain.casefold().rstrip(".。")
        return bool(sentence) and text.strip().casefold().startswith(sentence)

    reply: str = ""
    """Template of the answer, for a recipe that calls no teacher."""


class Recipe(Strict):
    """A prompt file."""

    name: str
    version: int
    about: Literal["span", "window", "windows", "question", "tasks", "answers"] = Field(alias="from")
    makes: Literal[
        "question",
        "wording",
        "text",
        "instruction",
        "chat",
        "unanswerable",
        "task",
        "read",
        "judged",
        "quote_then_answer",
    ]
    fields: dict[str, Kind] = Field(default_factory=dict)
    """Fields of the JSON answer and their types (a list enumerates the values). Without fields the answer is plain
    text, stored in the first field of `makes`."""
    max_tokens: int = Field(ge=1)
    en: PromptText | None = None
    zh: PromptText | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Recipe":
        if self.en is None and self.zh is None:
            raise ValueError("there is no prompt in any language (en, zh)")
        if self.fields and (missing := FIELDS[self.makes] - self.fields.keys()):
            raise ValueError(f"fields lacks {sorted(missing)[0]!r}, which makes: {self.makes} requires")
        for words in (self.en, self.zh):
            named = set(Template(words.user + words.reply).get_identifiers()) if words else set()
            allowed = KNOWN[self.about] | ({"yes", "no"} if self.makes == "judged" else set())
            if unknown := named - allowed:
                raise ValueError(f"${sorted(unknown)[0]} is not a placeholder of from: {self.about}")
        return self

    @property
    def schema_(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the answer; None for plain text."""
        if not self.fields:
            return None
        properties = {name: _schema(kind) for name, kind in self.fields.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def words(self, language: str) -> PromptText:
        """Return the prompts in `language`, or in the other language when it has none."""
        words = self.zh if language == "zh" else self.en
        available = words or self.en or self.zh
        assert available is not None
        return available

    def call(
        self,
        filled: dict[str, str],
        language: str,
        instructed: bool,
        temperature: float | None = None,
        sample: int = 0,
    ) -> Call:
        """Return the call for this recipe, with the placeholders substituted from `filled`."""
        words = self.words(language)
        system: list[Message] = [{"role": "system", "content": words.system}] if instructed and words.system else []
        user: Message = {"role": "user", "content": Template(words.user).substitute(filled).rstrip("\n")}
        return Call([*system, user], self.max_tokens, temperature, self.schema_, sample)

    def written(self, filled: dict[str, str], language: str) -> tuple[str, str]:
        """Return the rendered prompt and answer of a recipe that calls no teacher."""
        words = self.words(language)
        asked, answered = (Template(text).substitute(filled).strip() for text in (words.user, words.reply))
        return asked, answered

    def parse(self, reply: Reply) -> dict[str, Any] | str:
        """Return the fields of an answer, or the rejection reason.

        The first JSON object with all fields is used, regardless of the text around it; invalid JSON is repaired where
        possible.
        """
        if reply.text is None:
            return reply.failure or "no_answer"
        if _BROKEN in reply.text:
            return "broken_character"
        if not self.fields:
            (field,) = sorted(FIELDS[self.makes])[:1] if self.about != "span" else ("question",)
            return {field: reply.text.strip()} if reply.text.strip() else "empty_answer"
        any_object = False
        for kept in self.answers(reply.text):
            any_object = True
            if kept is not None:
                return "broken_character" if _BROKEN in str(kept) else kept
        return "field_missing" if any_object else "not_json"

    def answers(self, text: str) -> Iterator[dict[str, Any] | None]:
        """Yield the fields of every JSON object in a text, in order of preference; None for an incomplete object."""
        for value in json_objects(text):
            kept = {name: _typed(value.get(name), kind) for name, kind in self.fields.items()}
            yield None if any(item is None for item in kept.values()) else kept


@dataclass(frozen=True)
class PromptLibrary:
    """The prompt templates used in synthesis."""

    recipes: dict[str, Recipe]
    reader: Recipe
    judge: Recipe


def _schema(kind: Kind) -> dict[str, Any]:
    if not isinstance(kind, list):
        return _TYPES[kind]
    return {"type": "integer" if all(isinstance(each, int) for each in kind) else "string", "enum": kind}


def _typed(value: Any, kind: Kind) -> Any:
    """Return `value` if it is of `kind`, else None. An ellipsis alone is rejected: it copies the prompt's example."""
    if isinstance(kind, list):
        return next((each for each in kind if str(each).casefold() == str(value).strip().casefold()), None)
    if kind == "string":
        return value.strip() if isinstance(value, str) and value.strip(" \n.…") else None
    if kind == "strings":
        value = [value] if isinstance(value, str) else value
        good = isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
        return [each.strip() for each in value] if good else None
    good = isinstance(value, list) and bool(value) and all(_is_turn(each) for each in value)
    return [{name: each[name].strip() for name in ("question", "answer")} for each in value] if good else None


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("question", "answer"))


def load_library(folder: Path, names: Iterable[str]) -> PromptLibrary:
    """Read the recipes `names`, the reader and the judge from `folder`.

    Raises:
        UserError: a prompt file is missing or invalid.
    """
    recipes = {name: load(folder, name, "synthesize.recipes") for name in names}
    return PromptLibrary(recipes, load(folder, "reader", "synthesize"), load(folder, "judge", "synthesize"))


def load(folder: Path, name: str, needed_by: str = "this stage") -> Recipe:
    """Read the recipe `name` from `folder`; an error message says what it is `needed_by`, such as a parameter.

    Raises:
        UserError: the prompt file is missing or invalid.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"There is no prompt file {path}, which is needed by {needed_by}; restore it, or write it as "
            "docs/synthesis.md shows."
        )
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a prompt file: keys and values are expected; docs/synthesis.md shows one.")
    try:
        return Recipe.model_validate({"name": name, **values})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{path}: {what}; docs/synthesis.md lists the keys of a prompt file.") from error
