"""The block `alignment` of params.yaml: the graph of alignment, one stage per row.

Rows are data, so that a further round of a loop (iterative DPO, SPIN, self-rewarding) is a row, not a task.
"""

import re
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import StringConstraints, model_validator

from pipelines.block import Block, Name
from pipelines.runtime.errors import UserError

POLICY = r"^(base|pretrain|sft|(align|rl)/[A-Za-z0-9][A-Za-z0-9_-]*)$"
Policy = Annotated[str, StringConstraints(pattern=POLICY)]
"""Directory of a model under artifacts/."""
REFERENCES, TEACHER = "curate", "teacher"
"""Scorers: the reference answers, and the model of `teacher.roles.judge`."""
JUDGE_PROMPTS = {"judge": "compare", "score": "rate"}
"""The prompt template of each ranker that asks a judge."""
Scorer = Annotated[
    str, StringConstraints(pattern=rf"{POLICY}|^({REFERENCES}|{TEACHER}|reward/[A-Za-z0-9][A-Za-z0-9_-]*)$")
]
"""Directory of what ranks or scores answers, under artifacts/."""


def is_model(directory: str) -> bool:
    """Tell whether a directory under artifacts/ is that of a model."""
    return re.fullmatch(POLICY, directory) is not None


def check_scorer(scorer: str, what: str, *, modelled: bool, judged: bool) -> None:
    """Check the scorer of `what`, which uses a reward model if `modelled` and a judge if `judged`.

    Raises:
        ValueError: the scorer is of another kind.
    """
    if modelled and not scorer.startswith("reward/"):
        raise ValueError(f"{what} needs a reward model; set scorer to reward/<row>, not {scorer}")
    if judged and not modelled and scorer != TEACHER and not is_model(scorer):
        raise ValueError(f"{what} needs a judge; set scorer to {TEACHER} or to a model such as sft, not {scorer}")


class PairsRow(Block):
    """Preference pairs: samples of a policy, ranked. The stage `pairs@<name>`."""

    policy: Policy
    """The model that is sampled."""
    ranker: Literal["reference", "self_play", "judge", "score", "reward", "human"]
    """How pairs are made: `reference` compares samples with the reference answer by rule; `self_play` prefers the
    reference to every sample (SPIN); `judge` compares two samples and `score` rates each with a judge; `reward` uses a
    reward model; `human` uses people's choices."""
    scorer: Scorer
    """Directory under artifacts/ that the ranker needs: `reward/<row>` for `reward`; for `judge` and `score` `teacher`,
    which stands for teacher.roles.judge, or a model, which then is the judge; otherwise `curate`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of other stages that this one reads."""
        return self.policy, self.scorer

    @property
    def judged(self) -> bool:
        """Whether a judge ranks."""
        return self.ranker in JUDGE_PROMPTS

    @model_validator(mode="after")
    def _scorer_of_the_ranker(self) -> "PairsRow":
        check_scorer(self.scorer, f"the ranker {self.ranker}", modelled=self.ranker == "reward", judged=self.judged)
        if self.ranker != "reward" and not self.judged and self.scorer != REFERENCES:
            raise ValueError(f"the ranker {self.ranker} uses no {self.scorer}; set scorer to {REFERENCES}")
        return self


class RewardRow(Block):
    """A reward model. The stage `reward@<name>`."""

    policy: Policy
    """The model whose adapter it starts from."""
    pairs: Name
    """Row of `pairs`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of other stages that this one reads."""
        return self.policy, f"pairs/{self.pairs}"


class AlignRow(Block):
    """A model trained on pairs (offline). The stage `align@<name>`."""

    policy: Policy
    """The model that is trained, and the reference of losses that have one."""
    pairs: Name
    """Row of `pairs`."""
    options: dict[str, Any]
    """Values that differ from the block `align.dpo`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of other stages that this one reads."""
        return self.policy, f"pairs/{self.pairs}"


class RLRow(Block):
    """A model trained on its own samples (online). The stage `rl@<name>`."""

    policy: Policy
    """The model that is trained, and the reference of the KL."""
    prompts: Name
    """Row of `pairs`, whose online prompts are sampled."""
    scorer: Scorer
    """Directory under artifacts/: `reward/<row>` if the reward model is among the rewards; for the reward `judge`
    `teacher`, which stands for teacher.roles.judge, or a model, which then is the judge; otherwise `curate`."""
    method: Literal["ppo", "grpo"]
    """Algorithm."""
    options: dict[str, Any]
    """Values that differ from the block `rl.<method>`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of other stages that this one reads."""
        return self.policy, f"pairs/{self.prompts}", self.scorer


Row = PairsRow | RewardRow | AlignRow | RLRow


class AlignmentConfig(Block):
    """The stages of alignment, by name. Those that no evaluated model needs are not part of a whole run."""

    pairs: dict[Name, PairsRow]
    """Preference pairs."""
    reward: dict[Name, RewardRow]
    """Reward models."""
    align: dict[Name, AlignRow]
    """Models trained on pairs."""
    rl: dict[Name, RLRow]
    """Models trained online."""

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by the directory of their output, such as `align/dpo`."""
        return {f"{table}/{name}": row for table, rows in self for name, row in rows.items()}

    def row(self, table: str, name: str | None) -> Row | None:
        """Return a row; None if `table` is none of the four.

        Raises:
            UserError: the table has no row of this name.
        """
        if table not in type(self).model_fields:
            return None
        if f"{table}/{name}" not in self.rows:
            raise UserError(f"alignment.{table} in params.yaml has no row {name!r}.")
        return self.rows[f"{table}/{name}"]

    @model_validator(mode="after")
    def _rows_are_a_graph(self) -> "AlignmentConfig":
        rows = self.rows
        for output, row in rows.items():
            missing = [each for each in row.needs if "/" in each and each not in rows]
            if missing:
                raise ValueError(f"{output} needs {missing[0]}, and there is no such row among {', '.join(rows)}")
        try:
            TopologicalSorter({output: row.needs for output, row in rows.items()}).prepare()
        except CycleError as error:
            cycle = " → ".join(reversed(error.args[1]))
            raise ValueError(f"rows depend on each other: {cycle}") from error
        return self
