"""Problems: right reference solutions, disjoint splits, steps in tokens, and answers."""

import operator
import re

import pytest

from pipelines.alignment.process.problems import splits
from pipelines.alignment.process.steps import Solution, answer_of, is_right, step_ends, true_steps
from pipelines.models.chat import encode_prompt, encode_text
from tests.conftest import tiny_tokenizer

SIZES = {"train": 40, "test": 20}


def test_reference_solutions_are_right_and_chained() -> None:
    for problem in splits(SIZES, 1, (3, 5), 99)["train"]:
        assert 4 <= len(problem.steps) <= 6
        value, *others = [int(number) for number in re.findall(r"\d+", problem.question)]
        for step, number in zip(problem.steps[:-1], others, strict=True):
            left, sign, right, result = re.fullmatch(r"\w+day (\d+)([-+*])(\d+)=(\d+)", step).groups()  # type: ignore[union-attr]
            assert (int(left), int(right)) == (value, number)
            value = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](value, number)
            assert int(result) == value and 1 <= value <= 99
        assert problem.steps[-1] == f"Answer: {value}" and problem.answer == str(value)


def test_splits_are_seeded_and_share_no_chain_of_operations() -> None:
    found = splits(SIZES, 1, (3, 5), 99)
    assert found == splits(SIZES, 1, (3, 5), 99) and found != splits(SIZES, 2, (3, 5), 99)
    assert {name: len(problems) for name, problems in found.items()} == SIZES
    chains = [problem.steps for problems in found.values() for problem in problems]
    assert len(set(chains)) == 60


def test_too_many_problems_are_refused() -> None:
    with pytest.raises(ValueError, match=r"only \d+ of 5000 problems differ"):
        splits({"train": 5000}, 1, (1, 1), 9)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("1+1=2\nAnswer: 2", "2"), ("Answer: 2\n", "2"), ("Answer: 2\n3+3=6", None), ("Answer: ", None), ("", None)],
)
def test_the_answer_is_the_last_line(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer


def test_steps_end_at_line_breaks_and_at_the_end_of_turn() -> None:
    tok = tiny_tokenizer()
    text = "\n7+5=12\n\n12-3=9\nAnswer: 9\n"
    response = [*encode_text(tok, text), tok.eos_token_id]
    solution = Solution.of(tok, ([1], response))
    prefixes = [tok.decode(solution.prefix(step)) for step in range(len(solution.ends))]
    assert prefixes == ["\n7+5=12\n\n", "\n7+5=12\n\n12-3=9\n", text + tok.eos_token]
    assert step_ends(tok, response[:-1])[-1] == len(response) - 2  # a response that did not end
    assert step_ends(tok, [tok.eos_token_id]) == [0]


def test_steps_are_true_until_the_first_wrong_one() -> None:
    tok = tiny_tokenizer()
    problem = splits({"test": 1}, 1, (3, 3), 99)["test"][0]
    wrong = [*problem.steps[:1], problem.steps[1] + "0", *problem.steps[2:]]
    response = [*encode_text(tok, "\n".join(wrong)), tok.eos_token_id]
    solution = Solution.of(tok, (encode_prompt(tok, problem.messages), response))
    assert true_steps(tok, problem, solution) == [True, False, False, False]
    assert is_right(tok, problem, response)  # the final answer alone does not show it
