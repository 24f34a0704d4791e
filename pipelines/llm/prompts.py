"""Recipes of synthesis: a prompt file each, with a version, in one language or several.

A recipe names what it is asked about (`from`) and what comes of it (`makes`), and holds the words the teacher is told.
docs/synthesis.md shows how to add one.
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

Language = Literal["en", "zh"]

KNOWN: dict[str, frozenset[str]] = {
    "span": frozenset({"window", "sentence", "answer"}),
    "window": frozenset({"window"}),
    "windows": frozenset({"window", "other"}),
    "question": frozenset({"window", "sentence", "question", "answer"}),
    "tasks": frozenset({"examples"}),
    "answers": frozenset({"sentence", "question", "answer", "first", "second"}),
}
"""The placeholders that a prompt may have, by what it is asked about."""

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
"""The fields that an answer must have, by what is made of it. One span's question needs no answer and no evidence."""

_BROKEN = "\ufffd"
"""What stands for half a surrogate pair, or bytes that are no text."""

_TURN = {"type": "object", "properties": {"question": {"type": "string"}, "answer": {"type": "string"}}}
_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "turns": {"type": "array", "items": {**_TURN, "required": ["question", "answer"], "additionalProperties": False}},
}


Kind = Literal["string", "strings", "turns"] | list[str] | list[int]


class Strict(BaseModel):
    """Part of a prompt file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(Strict):
    """What a teacher is told, in one language. `$window` and the like are filled in."""

    system: str = ""
    """Left out for a schooled teacher, who would only pay for it."""
    user: str
    abstain: str = ""
    """What a reader says when the passage does not tell."""
    reply: str = ""
    """What is answered, where no teacher is asked."""


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
    """Of the JSON that is answered, a list being the values to choose from; none: the answer is plain text, the first
    field of `makes`."""
    max_tokens: int = Field(ge=1)
    en: Words | None = None
    zh: Words | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Recipe":
        if self.en is None and self.zh is None:
            raise ValueError("there are no words for any language (en, zh)")
        if self.fields and (missing := FIELDS[self.makes] - self.fields.keys()):
            raise ValueError(f"fields lacks {sorted(missing)[0]!r}, which makes: {self.makes} needs")
        for words in (self.en, self.zh):
            named = set(Template(words.user + words.reply).get_identifiers()) if words else set()
            allowed = KNOWN[self.about] | ({"yes", "no"} if self.makes == "judged" else set())
            if unknown := named - allowed:
                raise ValueError(f"${sorted(unknown)[0]} is no placeholder of from: {self.about}")
        return self

    @property
    def schema_(self) -> dict[str, Any] | None:
        """JSON Schema of the answer; None for plain text."""
        if not self.fields:
            return None
        properties = {name: _schema(kind) for name, kind in self.fields.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def words(self, language: str) -> Words:
        """Return the words for `language`, or those for the other one when it has none."""
        words = self.zh if language == "zh" else self.en
        found = words or self.en or self.zh
        assert found is not None
        return found

    def call(
        self,
        filled: dict[str, str],
        language: str,
        instructed: bool,
        temperature: float | None = None,
        sample: int = 0,
    ) -> Call:
        """Return the call that asks for this recipe, with `filled` in place of the placeholders."""
        words = self.words(language)
        system: list[Message] = [{"role": "system", "content": words.system}] if instructed and words.system else []
        user: Message = {"role": "user", "content": Template(words.user).substitute(filled).rstrip("\n")}
        return Call([*system, user], self.max_tokens, temperature, self.schema_, sample)

    def written(self, filled: dict[str, str], language: str) -> tuple[str, str]:
        """Return what is asked and what is answered, for a recipe that asks nobody."""
        words = self.words(language)
        asked, answered = (Template(text).substitute(filled).strip() for text in (words.user, words.reply))
        return asked, answered

    def parse(self, reply: Reply) -> dict[str, Any] | str:
        """Return the fields of an answer, or the reason why it has none.

        The first JSON object with all fields is taken, whatever surrounds it, and repaired where it is nearly right.
        """
        if reply.text is None:
            return reply.failure or "no_answer"
        if _BROKEN in reply.text:
            return "broken_character"
        if not self.fields:
            (field,) = sorted(FIELDS[self.makes])[:1] if self.about != "span" else ("question",)
            return {field: reply.text.strip()} if reply.text.strip() else "empty_answer"
        found = False
        for kept in self.answers(reply.text):
            found = True
            if kept is not None:
                return "broken_character" if _BROKEN in str(kept) else kept
        return "field_missing" if found else "not_json"

    def answers(self, text: str) -> Iterator[dict[str, Any] | None]:
        """Yield the fields of every JSON object in a text, in order of preference; None for one that lacks some."""
        for value in json_objects(text):
            kept = {name: _typed(value.get(name), kind) for name, kind in self.fields.items()}
            yield None if any(item is None for item in kept.values()) else kept


@dataclass(frozen=True)
class PromptLibrary:
    """The prompt files that a synthesis uses."""

    recipes: dict[str, Recipe]
    reader: Recipe
    judge: Recipe


def _schema(kind: Kind) -> dict[str, Any]:
    if not isinstance(kind, list):
        return _TYPES[kind]
    return {"type": "integer" if all(isinstance(each, int) for each in kind) else "string", "enum": kind}


def _typed(value: Any, kind: Kind) -> Any:
    """Return `value` when it is of `kind`, else None. An ellipsis repeats the example of the prompt."""
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
    """Read the recipes `names`, the reader and the judge of `folder`.

    Raises:
        UserError: one is missing, or says what no prompt file may say.
    """
    return PromptLibrary({name: load(folder, name) for name in names}, load(folder, "reader"), load(folder, "judge"))


def load(folder: Path, name: str) -> Recipe:
    """Read the recipe `name` of `folder`.

    Raises:
        UserError: there is no such file, or it says what no prompt file may say.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no prompt file {path}; write it, or take {name} out of synthesize.recipes.")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is no prompt file: keys and values are expected.")
    try:
        return Recipe.model_validate({"name": name, **values})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{path}: {what}; docs/synthesis.md lists what a prompt file may say.") from error
