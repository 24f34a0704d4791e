"""Ranges of a search: defaults, forms, and what is refused before anything is computed."""

import pytest

from flows.run import overrides
from flows.tuning.ranges import RANK, Range, assignments, nested, space
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

TEXT = (ROOT / "params.yaml").read_text()
PARAMETERS = ("sft", "training", "base.quantization", "compute")


def test_defaults_are_learning_rate_rank_and_epochs_around_the_present_values() -> None:
    rate, rank, epochs = space([], TEXT, PARAMETERS)
    present = overrides.checked(TEXT).sft
    assert (rate.key, rank.key, epochs.key) == ("sft.learning_rate", RANK, "sft.epochs")
    assert present.learning_rate in rate and present.epochs in epochs
    assert (rate.log, rank.log, epochs.log) == (True, True, False)
    assert (rate.integer, rank.integer, epochs.integer) == (False, True, True)
    for each in (rate, rank, epochs):
        for end in (each.low, each.high):
            overrides.checked(overrides.changed(TEXT, assignments({each.key: each.rounded(end)})))


def test_rank_is_not_searched_if_all_weights_are_trained() -> None:
    text = overrides.changed(TEXT, ["sft.tuning={method: full, options: {}}"])
    assert [each.key for each in space([], text, PARAMETERS)] == ["sft.learning_rate", "sft.epochs"]


def test_ranges_are_parsed_and_values_rounded_within_them() -> None:
    rate, tokens, decay, patience = space(
        [
            "sft.learning_rate=1e-4:0.0123:log",
            "sft.batch_tokens=128:512:log",
            "training.weight_decay=0:1",
            "training.patience=2:4",
        ],
        TEXT,
        PARAMETERS,
    )
    assert rate == Range("sft.learning_rate", 1e-4, 0.0123, log=True, integer=False)
    assert tokens.integer and patience.integer and not decay.integer
    assert rate.rounded(0.001234567) == 0.00123 and rate.rounded(0.012299999) == 0.0123
    assert 0.0123 in rate and 0.0124 not in rate and None not in patience


def test_values_are_the_blocks_of_a_recipe() -> None:
    recipe = nested({"sft.learning_rate": 1e-5, "sft.tuning.options.r": 8, "training.decay": 0.5})
    assert recipe == {"sft": {"learning_rate": 1e-5, "tuning": {"options": {"r": 8}}}, "training": {"decay": 0.5}}
    assert overrides.checked(overrides.merged(TEXT, recipe)).sft.tuning.options["r"] == 8
    assert "learning_rate: 1.0e-05" in overrides.written(recipe)


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ("sft.epoch=1:3", "--search sft.epoch: there is no such parameter; did you mean sft.epochs?"),
        ("sft.epochs", "is not a range; write it as --search sft.learning_rate=1e-4:1e-2:log"),
        ("sft.epochs=1:many", "is not a range"),
        ("sft.epochs=1:3:cubic", "is not a range"),
        ("sft.epochs=1:inf", "is not a range"),
        ("sft.epochs=3:3", "its ends are not in order"),
        ("sft.lm_weight=0:1:log", "the first end of a logarithmic range must be above 0"),
        ("sft.epochs=0:3", "sft.epochs input should be greater than or equal to 1"),
        ("sft.adapter_scale=0.5:1.5", "sft.adapter_scale input should be less than or equal to 1"),
        ("sft.epochs=1.5:3", "params.yaml with --search sft.epochs=1.5:3: sft.epochs input should be a valid integer"),
        ("sft.init_from=1:3", "its value is 'base'; only numbers that stand alone can be searched"),
        ("base.thinking=0:1", "its value is False; only numbers"),
        ("curate.num_variants=2:8", "it does not change a training on the data that exists; parameters that do are in"),
        ("sft.validation_questions=10:20", "trials are compared by these questions"),
    ],
)
def test_invalid_range_is_reported(search: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        space([search], TEXT, PARAMETERS)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_parameter_with_two_ranges_is_reported() -> None:
    with pytest.raises(UserError, match=r"sft\.epochs is given twice"):
        space(["sft.epochs=1:3", "sft.epochs=4:6"], TEXT, PARAMETERS)
