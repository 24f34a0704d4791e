"""The schema of params.yaml: one block per task, defined in the package that it configures (`pipelines/*/config.py`).

Every key is required and unknown keys are rejected, so that no result depends on a default hidden in the code.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipelines.alignment.config import AlignConfig, PairsConfig, PreferenceBlock, RewardConfig, RLConfig
from pipelines.alignment.rl.config import RLBlock
from pipelines.alignment.rows import TEACHER, AlignmentConfig, check_scorer
from pipelines.block import Block
from pipelines.curation.config import CurateConfig
from pipelines.data.config import CleanConfig, DataConfig, DataReportConfig, DedupConfig, IngestConfig, SplitConfig
from pipelines.evaluation.confidence.config import CalibrateConfig
from pipelines.evaluation.config import (
    BestOfNConfig,
    CompareConfig,
    EvaluateConfig,
    OpenBookConfig,
    SelectConfig,
    TestConfig,
)
from pipelines.llm.config import TeacherConfig
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.task_adapters.config import CombineConfig
from pipelines.runtime.errors import UserError
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.training.config import PretrainConfig, SFTConfig, TrainingConfig
from pipelines.user_files import read_yaml

AnyBlock = TypeVar("AnyBlock", bound=Block)


class Config(Block):
    """All blocks of params.yaml."""

    compute: ComputeConfig
    data: DataConfig
    base: BaseModelConfig
    ingest: IngestConfig
    clean: CleanConfig
    dedup: DedupConfig
    split: SplitConfig
    data_report: DataReportConfig
    teacher: TeacherConfig
    synthesize: SynthesizeConfig
    curate: CurateConfig
    training: TrainingConfig
    pretrain: PretrainConfig
    sft: SFTConfig
    alignment: AlignmentConfig
    pairs: PairsConfig
    reward: RewardConfig
    align: AlignConfig
    rl: RLConfig
    combine: CombineConfig
    evaluate: EvaluateConfig
    select: SelectConfig
    test: TestConfig
    calibrate: CalibrateConfig
    open_book: OpenBookConfig
    best_of_n: BestOfNConfig
    compare: CompareConfig

    @model_validator(mode="after")
    def _accuracy_is_measured(self) -> "Config":
        if self.training.criterion == "accuracy" and not self.sft.validation_questions:
            raise ValueError(
                "training.criterion is accuracy, and sft.validation_questions is 0, so that no accuracy is measured; "
                "set it to the number of questions to ask, such as 100, or set training.criterion to loss"
            )
        return self

    @model_validator(mode="after")
    def _rows_of_alignment(self) -> "Config":
        for name in self.alignment.align:
            self.offline(name)
        for name, row in self.alignment.rl.items():
            reward = self.online(name).reward
            check_scorer(row.scorer, f"alignment.rl.{name}", modelled="model" in reward, judged="judge" in reward)
        asked = [f"pairs.{name}" for name, row in self.alignment.pairs.items() if row.judged and row.scorer == TEACHER]
        asked += [f"rl.{name}" for name, row in self.alignment.rl.items() if row.scorer == TEACHER]
        if asked and not self.teacher.judges:
            raise ValueError(
                f"alignment.{asked[0]} asks the judge, but teacher.roles.judge names no instruction-tuned model"
            )
        needed = {f"evaluate.models.{name}": model for name, model in self.evaluate.models.items()}
        needed["best_of_n.reward"] = self.best_of_n.reward
        for where, output in needed.items():
            if "/" in output and output not in self.alignment.rows:
                raise ValueError(f"{where} is {output}, and there is no such row in the block alignment")
        return self

    def offline(self, name: str) -> PreferenceBlock:
        """Return the settings of the row `name` of `alignment.align`: the block `align.dpo` with the row's options."""
        return _with_options(self.align.dpo, self.alignment.align[name].options, f"alignment.align.{name}.options")

    def online(self, name: str) -> RLBlock:
        """Return the settings of the row `name` of `alignment.rl`: the block of its method with the row's options."""
        row = self.alignment.rl[name]
        block: RLBlock = getattr(self.rl, row.method)
        return _with_options(block, row.options, f"alignment.rl.{name}.options")

    @property
    def parents(self) -> dict[str, str]:
        """The model that each aligned one was aligned from, by name; the next one up that is evaluated."""
        names = {directory: name for name, directory in self.evaluate.models.items()}
        parents: dict[str, str] = {}
        for name, directory in self.evaluate.models.items():
            while name not in parents and directory in self.alignment.rows:
                directory = self.alignment.rows[directory].policy
                if directory in names:
                    parents[name] = names[directory]
        return parents

    @property
    def writes_questions(self) -> bool:
        """Whether a teacher writes questions about the documents."""
        return bool(self.synthesize.recipes) and self.teacher.roles.writer is not None


def _with_options(block: AnyBlock, options: dict[str, Any], where: str) -> AnyBlock:
    try:
        return block.changed(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in (where, *first["loc"]))
        raise ValueError(f"{key} is refused: {first['msg'].removeprefix('Value error, ')}") from error


def load(path: Path = Path("params.yaml")) -> Config:
    """Read and validate `path`.

    Raises:
        UserError: the file is missing or not YAML, has an unknown or missing key, or a value is out of range.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist in {Path.cwd()}; run from the project's folder.")
    if path.read_bytes().startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is not UTF-8, which DVC needs; save it as UTF-8.")
    values = read_yaml(path)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error, values)}") from error


def flat(block: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Flatten a block to dotted keys (`sft.tuning.options.r: 32`) for logging."""
    return dict(_flatten(block.model_dump(mode="json"), prefix))


def _flatten(value: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else key
        pairs += _flatten(inner, name) if isinstance(inner, dict) else [(name, inner)]
    return pairs


def _first(error: ValidationError, values: Any) -> str:
    """Describe the first problem. Unknown keys come first, since a misspelt key also shows up as a missing one."""
    problems = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    first = problems[0]
    if not first["loc"]:  # values that exclude each other
        return f"{first['msg'].removeprefix('Value error, ')}."
    where = ".".join(_path(first["loc"], values))
    if first["type"] == "extra_forbidden":
        what = f"is not a parameter; {_meant(first['loc'], problems, values)}"
    elif first["type"] == "missing":
        what = "is missing"
    elif first["type"] == "path_type":
        what = f"must be a path (found {first['input']!r})"
    elif first["type"] == "value_error" and isinstance(first["input"], dict):
        what = f"is refused: {first['msg'].removeprefix('Value error, ')}"
    else:
        what = f"{first['msg'][0].lower()}{first['msg'][1:]} (found {first['input']!r})"
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where} {what}{more}" + ("" if what.endswith("?") and not more else ".")


def _path(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the keys that lead to a problem, without pydantic's discriminator tags."""
    path: list[str] = []
    for number, part in enumerate(loc):
        inner = (isinstance(values, dict) and part in values) or isinstance(values, list)
        if inner or number == len(loc) - 1:
            path.append(str(part))
            values = values[part] if inner else None
    return path


def _meant(loc: tuple[int | str, ...], problems: list[ErrorDetails], values: Any) -> str:
    """Suggest the known key that is closest to an unknown one."""
    extra = {each["loc"] for each in problems if each["type"] == "extra_forbidden"}
    missing = {each["loc"] for each in problems if each["type"] == "missing"}
    block = values
    for part in _path(loc, values)[:-1]:
        block = block[part]
    known = [str(key) for key in block if (*loc[:-1], key) not in extra]
    known += [str(each[-1]) for each in missing if each[:-1] == loc[:-1]]
    close = get_close_matches(str(loc[-1]), known, 1)
    return f"did you mean {close[0]}?" if close else "see the config.py of its package for the known ones"
