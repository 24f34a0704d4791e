"""Generated word problems: chains of arithmetic operations, with a reference solution of one step per line.

    A box holds 27 coins. 15 are added. Their number is multiplied by 3. How many coins are there?

    27+15=42
    42*3=126
    Answer: 126

Every step has one right value, so that labels of steps and scores of a reward model can be compared with the truth.
"""

import operator
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.models.messages import Message

ANSWER = "Answer: "
"""Begins the last line of a solution."""
_OPERATIONS: Mapping[str, tuple[Callable[[int, int], int], tuple[str, ...]]] = {
    "+": (operator.add, ("{} are added.", "{} more arrive.", "{} are bought.")),
    "-": (operator.sub, ("{} are lost.", "{} are given away.", "{} are sold.")),
    "*": (operator.mul, ("Their number is multiplied by {}.", "Then there are {} times as many.")),
}
_PLACES = ("A box holds", "In a shop are", "A truck carries", "On a table lie")
_THINGS = ("coins", "books", "apples", "stones", "cards", "tiles")
_FACTORS = (2, 4)
"""Smallest and largest factor of a multiplication."""

Chain = tuple[int, tuple[tuple[str, int], ...]]
"""The first number, and the operations on it."""


@dataclass(frozen=True)
class Problem:
    """A problem whose solution has several steps."""

    question: str
    steps: tuple[str, ...]
    """The lines of the reference solution; the last is `ANSWER` and the answer."""
    answer: str

    @property
    def messages(self) -> list[Message]:
        """The prompt."""
        return [{"role": "user", "content": self.question}]

    @property
    def solved(self) -> list[Message]:
        """The prompt and the reference solution."""
        return [*self.messages, {"role": "assistant", "content": "\n".join(self.steps)}]


def splits(sizes: Mapping[str, int], seed: int, operations: tuple[int, int], largest: int) -> dict[str, list[Problem]]:
    """Return `sizes[name]` problems of each split. No chain of operations occurs twice, so that splits are disjoint.

    Problems have from `operations[0]` to `operations[1]` operations, whose results are between 1 and `largest`.

    Raises:
        ValueError: there are hardly as many different problems.
    """
    generator = random.Random(seed)
    chains: dict[Chain, None] = {}
    total = sum(sizes.values())
    for _ in range(20 * total):
        if len(chains) == total:
            break
        chains[_chain(generator, generator.randint(*operations), largest)] = None
    if len(chains) < total:
        raise ValueError(f"only {len(chains)} of {total} problems differ; raise `largest` or the number of operations")
    drawn = iter(chains)
    return {name: [_problem(generator, next(drawn)) for _ in range(size)] for name, size in sizes.items()}


def _chain(generator: random.Random, count: int, largest: int) -> Chain:
    start = value = generator.randint(2, largest // 2)
    operations: list[tuple[str, int]] = []
    while len(operations) < count:
        sign = generator.choice("++--*")
        number = generator.randint(*(_FACTORS if sign == "*" else (2, largest // 2)))
        if 1 <= (result := _OPERATIONS[sign][0](value, number)) <= largest:
            operations.append((sign, number))
            value = result
    return start, tuple(operations)


def _problem(generator: random.Random, chain: Chain) -> Problem:
    value, operations = chain
    thing = generator.choice(_THINGS)
    sentences, steps = [f"{generator.choice(_PLACES)} {value} {thing}."], []
    for sign, number in operations:
        compute, wordings = _OPERATIONS[sign]
        result = compute(value, number)
        sentences.append(generator.choice(wordings).format(number))
        steps.append(f"{value}{sign}{number}={result}")
        value = result
    question = " ".join([*sentences, f"How many {thing} are there?"])
    return Problem(question, (*steps, f"{ANSWER}{value}"), str(value))
