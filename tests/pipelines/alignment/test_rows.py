"""The rows of the block `alignment`: what they may refer to, their options, and the parents of models."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.alignment.rows import AlignmentConfig
from pipelines.config import Config


def changed(config: Config, table: str, **rows: dict[str, Any]) -> Config:
    """Return the parameters with further rows of a table, all of them evaluated if they are models."""
    values = config.model_dump(mode="json")
    values["alignment"][table] |= rows
    if table in ("align", "rl"):
        values["evaluate"]["models"] |= {name: f"{table}/{name}" for name in rows}
    return Config.model_validate(values)


PAIRS = {"policy": "sft", "ranker": "reference", "scorer": "curate"}
ALIGN: dict[str, Any] = {"policy": "sft", "pairs": "first", "options": {}}
RL: dict[str, Any] = {"policy": "sft", "prompts": "first", "scorer": "curate", "method": "grpo", "options": {}}


def test_rows_have_the_settings_of_their_method_with_their_options(config: Config) -> None:
    ipo = changed(config, "align", ipo={**ALIGN, "options": {"loss": "ipo", "beta": 0.5}})
    assert (ipo.offline("ipo").loss, ipo.offline("ipo").beta) == ("ipo", 0.5)
    assert ipo.offline("dpo") == config.align.dpo
    options = {"reward": {"tests:reward": 1.0}, "health": {"max_kl": 5.0}}
    online = changed(config, "rl", short={**RL, "options": options}).online("short")
    assert online.reward == {"tests:reward": 1.0}  # replaced, not merged
    assert online.health == config.rl.grpo.health.model_copy(update={"max_kl": 5.0})


def test_the_parent_of_a_model_is_the_evaluated_model_that_it_was_aligned_from(config: Config) -> None:
    assert config.parents == {"dpo": "sft", "ppo": "sft"}
    further = changed(config, "rl", grpo={**RL, "policy": "align/dpo"})
    assert further.parents == {"dpo": "sft", "ppo": "sft", "grpo": "dpo"}
    values = further.model_dump(mode="json")
    del values["evaluate"]["models"]["dpo"]
    assert Config.model_validate(values).parents == {"ppo": "sft", "grpo": "sft"}


@pytest.mark.parametrize(
    ("table", "row", "sentence"),
    [
        ("align", {**ALIGN, "pairs": "second"}, "align/new needs pairs/second, and there is no such row"),
        ("align", {**ALIGN, "policy": "rl/none"}, "align/new needs rl/none"),
        ("align", {**ALIGN, "options": {"loss": "ip"}}, r"alignment\.align\.new\.options\.loss is refused"),
        ("align", {**ALIGN, "options": {"betta": 1}}, r"alignment\.align\.new\.options\.betta is refused"),
        (
            "rl",
            {**RL, "options": {"reward": {"model": 1.0}}},
            r"alignment\.rl\.new needs a reward model; set scorer",
        ),
        ("rl", {**RL, "options": {"samples": 1, "prompts": 64}}, "samples must be at least 2"),
        ("pairs", {**PAIRS, "ranker": "reward"}, "the ranker reward needs a reward model"),
        ("pairs", {**PAIRS, "ranker": "judge"}, "the ranker judge needs a judge; set scorer to teacher or to a model"),
        ("pairs", {**PAIRS, "scorer": "teacher"}, "the ranker reference uses no teacher; set scorer to curate"),
        ("pairs", {**PAIRS, "ranker": "score", "scorer": "teacher"}, r"alignment\.pairs\.new asks the judge"),
        ("rl", {**RL, "options": {"reward": {"judge": 1.0}}}, r"alignment\.rl\.new needs a judge"),
        ("rl", {**RL, "scorer": "teacher", "options": {"reward": {"judge": 1.0}}}, "names no instruction-tuned model"),
        ("rl", {**RL, "scorer": "verdict"}, "should match pattern"),
        ("pairs", {**PAIRS, "policy": "ingest"}, "should match pattern"),
    ],
)
def test_rows_that_cannot_be_computed_are_refused(
    config: Config, table: str, row: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        changed(config, table, new=row)


def test_rows_that_depend_on_each_other_are_refused() -> None:
    pairs = {"a": {"policy": "align/a", "ranker": "reference", "scorer": "curate"}}
    align = {"a": {"policy": "sft", "pairs": "a", "options": {}}}
    with pytest.raises(ValidationError, match=r"rows depend on each other: (pairs/a → align/a|align/a → pairs/a)"):
        AlignmentConfig.model_validate({"pairs": pairs, "reward": {}, "align": align, "rl": {}})


def test_evaluated_models_must_be_rows(config: Config) -> None:
    values = config.model_dump(mode="json")
    values["evaluate"]["models"]["ipo"] = "align/ipo"
    with pytest.raises(ValidationError, match=r"evaluate\.models\.ipo is align/ipo, and there is no such row"):
        Config.model_validate(values)
