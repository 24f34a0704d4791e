"""Batches: which prompts are computed together."""

from pipelines.inference.batching import Group, share


def test_prompts_that_begin_alike_are_grouped() -> None:
    passage = list(range(100, 130))
    prompts = [[*passage, 1, 2], [7, 8, 9], [*passage, 3]]
    groups = share(prompts, most=8)
    assert Group((0, 2), 30) in groups
    assert Group((1,), 2) in groups


def test_a_group_never_exceeds_a_batch() -> None:
    prompts = [[*range(100, 130), last] for last in range(5)]
    assert max(len(group.members) for group in share(prompts, most=2)) == 2
