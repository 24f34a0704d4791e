"""A validator whose reader and judge follow a script."""

from collections.abc import Callable

import pytest

from pipelines.config import load as load_config
from pipelines.llm.prompts import load
from pipelines.synthesis.validate import Validator
from tests.conftest import ROOT
from tests.support.teachers import PROMPTS, Script


@pytest.fixture
def make_validator() -> Callable[..., Validator]:
    """Return a factory of validators whose reader and judge follow a script."""

    def make(reader: Script, judge: Script | None = None, samples: int = 0) -> Validator:
        reading, judging = load(PROMPTS, "reader"), load(PROMPTS, "judge")
        thresholds = {
            "max_answer_words": 12,
            "min_writer_probability": 0.2,
            "min_ungrounded_probability": 0.5,
            "min_reader_probability": 0.5,
            "min_reader_f1": 0.8,
            "consistency_samples": samples,
            "min_consistency": 0.6,
            "temperature": 0.8,
        }
        config = load_config(ROOT / "params.yaml").synthesize.model_copy(update=thresholds)
        return Validator(reader, judge, reading, judging, config)

    return make
