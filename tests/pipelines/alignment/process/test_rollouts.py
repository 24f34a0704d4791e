"""Labels by rollouts with a policy that follows a script: counts, rejected solutions, and resumption."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from pipelines.alignment.process.problems import Problem
from pipelines.alignment.process.rollouts import Reason, Rollouts, completer, label, label_chunk, sample
from pipelines.models import loading
from pipelines.models.chat import encode_text
from tests.conftest import tiny_model, tiny_tokenizer

PROBLEMS = [
    Problem("Add 1, then 2, to 3.", ("3+1=4", "4+2=6", "Answer: 6"), "6"),
    Problem("Add 5 to 5.", ("5+5=10", "Answer: 10"), "10"),
]
ROLLOUTS = Rollouts(solutions=4, completions=4, seed=1, chunk=1)
FIRST = {
    PROBLEMS[0].question: [
        "3+1=4\n4+2=7\nAnswer: 7",  # the second step is wrong
        "3+1=4\n4+2=7\nAnswer: 7",
        "3+1=4\n4+2=6\nAnswer: 6",
        "3+1=4\nI think it is 6.",
    ],
    PROBLEMS[1].question: ["5+5=10\nAnswer: 10", "", "5+5=10\nAnswer: 10", "5+5=9\nAnswer: 9"],
}
BEHIND = {
    "3+1=4\n": ["4+2=6\nAnswer: 6", "4+2=7\nAnswer: 7", "4+2=6\nAnswer: 6", "Answer: 4"],
    "3+1=4\n4+2=7\n": ["Answer: 7"] * 4,
    "3+1=4\n4+2=6\n": ["Answer: 6", "Answer: 6", "Answer: 6", "Answer: 5"],
    "5+5=10\n": ["Answer: 10"] * 4,
    "5+5=9\n": ["Answer: 9", "Answer: 10", "Answer: 9", "Answer: 9"],  # one completion recovers
}


class Rigged:
    """Continues prompts and prefixes of solutions with the next of four texts; one of these does not end."""

    def __init__(self, tok: PreTrainedTokenizerBase) -> None:
        self.tok, self.calls = tok, 0

    def __call__(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        self.calls += 1
        given: dict[str, int] = {}
        found = []
        for prompt in prompts:
            text = self.tok.decode(prompt)
            question, written = text.split("assistant\n")
            script = BEHIND[written] if written else next(FIRST[each] for each in FIRST if each in question)
            turn = given.get(text, 0)
            given[text] = turn + 1
            continued = encode_text(self.tok, script[turn % 4])
            found.append([*continued, self.tok.eos_token_id] if "think" not in script[turn % 4] else continued)
        return found


@pytest.fixture
def tok() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


def test_steps_are_labelled_by_the_completions_that_reach_the_answer(tok: PreTrainedTokenizerBase) -> None:
    first, second, third, fourth = label_chunk(PROBLEMS[:1], tok, Rigged(tok), ROLLOUTS)
    assert first.right == [2, 0, 0] and not first.correct and first.rejected is None
    assert first.targets(soft=False) == [1.0, 0.0, 0.0] and first.targets(soft=True) == [0.5, 0.0, 0.0]
    assert second.rejected == Reason.DUPLICATE and second.right == []
    assert third.right == [2, 3, 4] and third.correct
    assert third.targets(soft=False) == [1.0, 1.0, 1.0] and third.targets(soft=True) == [0.5, 0.75, 1.0]
    assert fourth.rejected == Reason.UNFINISHED
    assert first.solution.prompt == third.solution.prompt and first.text == FIRST[PROBLEMS[0].question][0]


def test_labels_are_noisy_where_a_wrong_step_is_recovered(tok: PreTrainedTokenizerBase) -> None:
    right, empty, repeated, wrong = label_chunk(PROBLEMS[1:], tok, Rigged(tok), ROLLOUTS)
    assert [each.rejected for each in (right, empty, repeated, wrong)] == [
        *(None, Reason.NO_ANSWER, Reason.DUPLICATE, None)
    ]
    assert right.targets(soft=False) == [1.0, 1.0]
    assert wrong.targets(soft=False) == [1.0, 0.0] and wrong.targets(soft=True) == [0.25, 0.0]


def test_finished_chunks_are_read_and_others_are_labelled(tok: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    whole = label(PROBLEMS, tok, Rigged(tok), ROLLOUTS, tmp_path / "whole", "policy")
    assert len(whole) == 8 and len(list((tmp_path / "whole").iterdir())) == 2
    again = Rigged(tok)
    assert label(PROBLEMS[:1], tok, again, ROLLOUTS, tmp_path / "parts", "policy") == whole[:4]
    again.calls = 0
    assert label(PROBLEMS, tok, again, ROLLOUTS, tmp_path / "parts", "policy") == whole
    assert again.calls == 2  # solutions and completions of the second chunk only
    label(PROBLEMS, tok, again, ROLLOUTS, tmp_path / "parts", "another policy")
    assert again.calls == 6


@pytest.mark.slow
def test_a_model_is_sampled_with_the_seed_of_its_chunk(base: Path, tmp_path: Path) -> None:
    tok = loading.tokenizer(base)
    complete = completer(tiny_model(tiny_tokenizer()).eval(), tok, 5, 1.0, 4)
    one, other = (
        label(PROBLEMS, tok, complete, ROLLOUTS, tmp_path / name, "random weights") for name in ("one", "other")
    )
    assert one == other and len({each.text for each in one}) > 4
    greedy = completer(tiny_model(tiny_tokenizer()).eval(), tok, 5, None, 4)
    same = sample(PROBLEMS, tok, greedy, 2)
    assert same[0] == same[1] and same[2] == same[3]
    assert all(each.ends[-1] == len(each.response) - 1 for each in same)
