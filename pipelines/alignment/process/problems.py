"""Generated word problems: chains of arithmetic operations, with a reference solution of one step per line.

    Ana has 27 coins. Monday finds 8, Tuesday gets 2 times as many, Wednesday loses 4. How many coins has Ana?

    Monday 27+8=35
    Tuesday 35*2=70
    Wednesday 70-4=66
    Answer: 66

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
    "+": (operator.add, ("finds {}", "buys {}", "gets {}")),
    "-": (operator.sub, ("loses {}", "sells {}", "gives {}")),
    "*": (operator.mul, ("gets {} times as many",)),
}
_NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_THINGS = ("coins", "books", "apples", "stones", "cards", "tiles")
_OPERANDS = (2, 9)
"""Smallest and largest number that is added or subtracted."""
_FACTORS = (2, 4)
"""Smallest and largest factor."""

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

    Problems have from `operations[0]` to `operations[1]` operations, at most five, with results from 1 to `largest`.

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
    start = value = generator.randint(1, largest)
    operations: list[tuple[str, int]] = []
    while len(operations) < count:
        sign = generator.choice("++--*")
        number = generator.randint(*(_FACTORS if sign == "*" else _OPERANDS))
        if 1 <= (result := _OPERATIONS[sign][0](value, number)) <= largest:
            operations.append((sign, number))
            value = result
    return start, tuple(operations)


def _problem(generator: random.Random, chain: Chain) -> Problem:
    value, operations = chain
    name, thing = generator.choice(_NAMES), generator.choice(_THINGS)
    clauses, steps = [], []
    start = value
    for day, (sign, number) in zip(_DAYS, operations, strict=False):
        compute, wordings = _OPERATIONS[sign]
        result = compute(value, number)
        clauses.append(f"{day} {generator.choice(wordings).format(number)}")
        steps.append(f"{day} {value}{sign}{number}={result}")
        value = result
    question = f"{name} has {start} {thing}. {', '.join(clauses)}. How many {thing} has {name}?"
    return Problem(question, (*steps, f"{ANSWER}{value}"), str(value))
