"""The project's own dvc.yaml, read as a graph."""

import pytest

from flows import graph
from pipelines.errors import UserError
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def whole() -> graph.Graph:
    return graph.read(ROOT)


def test_repeated_stages_are_expanded_and_follow_their_parents(whole: graph.Graph) -> None:
    names = [stage.name for stage in whole]
    assert {"align@dpo", "align@ppo", "evaluate@base", "evaluate@sft", "evaluate@dpo", "evaluate@ppo"} <= set(names)
    for stage in whole:
        assert all(names.index(parent) < names.index(stage.name) for parent in stage.parents)


def test_compare_waits_for_every_evaluation(whole: graph.Graph) -> None:
    compare = next(stage for stage in whole if stage.name == "compare")
    assert set(compare.parents) == {"evaluate@base", "evaluate@sft", "evaluate@dpo", "evaluate@ppo"}


def test_a_target_brings_what_it_needs_and_nothing_else(whole: graph.Graph) -> None:
    names = {stage.name for stage in whole.towards(["align"])}
    assert {"align@dpo", "align@ppo", "sft", "ingest"} <= names
    assert not {"pretrain", "compare", "evaluate@base"} & names
    assert "pretrain" not in {stage.name for stage in whole.towards(["compare"])}


def test_a_change_reaches_what_follows_and_nothing_before(whole: graph.Graph) -> None:
    reached = whole.after(["sft"])
    assert {"sft", "preferences", "reward", "align@dpo", "evaluate@sft", "compare"} <= reached
    assert not {"base", "ingest", "curate", "evaluate@base", "pretrain"} & reached


def test_an_unknown_target_is_refused(whole: graph.Graph) -> None:
    with pytest.raises(UserError, match="'stf' is no stage"):
        whole.towards(["stf"])
