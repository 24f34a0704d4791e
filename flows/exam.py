"""The exam: the questions, and how they are asked and judged. Figures of the same exam may be held against each other.

Reads the questions in `evaluate.questions` and the code that judges; writes nothing.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from flows import ledger
from pipelines.config import Config

_EVALUATION = Path(__file__).parents[1] / "pipelines/evaluation"
JUDGING = (
    *("scoring", "candidates", "negation", "statements", "normalise", "numerals", "quantities", "date_forms"),
    "metrics",
)
"""The modules that turn answers into figures. A test holds that they import no other of their package that judges."""


def today(settings: Config) -> str:
    """Return the hash of the exam as the working tree has it."""
    return of(ledger.current_hash(settings.evaluate.questions), settings)


def of(questions: str, settings: Config) -> str:
    """Return the hash of the exam whose questions DVC knows by the hash `questions`."""
    asked = [questions, settings.evaluate.decoding, settings.curate.refusal]
    facts = [*asked, settings.evaluate.max_extra_words, rules(tuple(_EVALUATION / f"{name}.py" for name in JUDGING))]
    return hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


@cache
def rules(modules: tuple[Path, ...]) -> str:
    """Return the hash of what `modules` do: of their syntax, so that comments, docstrings and layout change nothing."""
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in modules]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_text(each)] or [ast.Pass()]
    return hashlib.md5("".join(map(ast.dump, trees)).encode(), usedforsecurity=False).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
