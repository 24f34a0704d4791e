"""Helpers of the tests that align a tiny model."""

from pathlib import Path

import torch

from pipelines.config import Config
from pipelines.models import loading


def say(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def vowels(prompts: list[object], answers: list[str], references: list[str]) -> list[float]:
    """A reward: the number of vowels."""
    assert len(prompts) == len(answers) and set(references) == {"good"}
    return [float(sum(letter in "aeiou" for letter in answer)) for answer in answers]


def options(config: Config, table: str, name: str, **changes: object) -> Config:
    """Return `config` with other options of a row of `alignment`."""
    values = config.model_dump(mode="json")
    values["alignment"][table][name]["options"] = changes
    return Config.model_validate(values)


def margin(directory: Path, config: Config) -> float:
    """Return the difference in log-probability of "good" and "bad" after a prompt."""
    model, tok = loading.load(directory, config.compute), loading.tokenizer(directory)
    asked = tok.apply_chat_template(say("user", "What of the mill?"), add_generation_prompt=True, return_dict=True)
    with torch.no_grad():
        logs = model(torch.tensor([asked["input_ids"]])).logits[0, -1].log_softmax(-1)
    good, bad = (tok(word)["input_ids"][0] for word in ("good", "bad"))
    return float(logs[good] - logs[bad])
