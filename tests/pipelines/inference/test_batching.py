"""Batching: grouping of prompts by common prefix."""

import pytest

from pipelines.inference.batching import Group, share

pytestmark = pytest.mark.slow


def test_prompts_with_a_common_prefix_are_grouped() -> None:
    passage = list(range(100, 130))
    prompts = [[*passage, 1, 2], [7, 8, 9], [*passage, 3]]
    groups = share(prompts, most=8)
    assert Group((0, 2), 30) in groups
    assert Group((1,), 2) in groups


def test_group_size_is_at_most_the_batch_size() -> None:
    prompts = [[*range(100, 130), last] for last in range(5)]
    assert max(len(group.members) for group in share(prompts, most=2)) == 2
