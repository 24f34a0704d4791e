"""A validator whose reader and judge follow a script."""

from collections.abc import Callable

import pytest

from pipelines.llm.prompts import load
from pipelines.synthesis.validate import Validator
from tests.support.teachers import PROMPTS, Script


@pytest.fixture
def examined_by() -> Callable[..., Validator]:
    """Make an examiner of scripted people."""

    def make(reader: Script, judge: Script | None = None, samples: int = 0) -> Validator:
        reading, judging = load(PROMPTS, "reader"), load(PROMPTS, "judge")
        return Validator(reader, judge, reading, judging, 12, 0.2, 0.5, 0.5, 0.8, samples, 0.6, 0.8)

    return make
