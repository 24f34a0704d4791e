"""Prompts of online training: others than those of the preference pairs, if enough are left."""

from pathlib import Path

from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences.pairs import choose, hold_out, scored_as
from pipelines.curation import schema
from pipelines.curation.schema import TrainingRow

ONLINE, ONLINE_HELD_OUT = "online.jsonl", "online_held_out.jsonl"


def write(
    rows: list[TrainingRow], chosen: list[TrainingRow], out: Path, config: PairsConfig, seed: int
) -> dict[str, float]:
    """Write prompts other than `chosen`, those of the pairs, to the folder `out`; return their number.

    A reward model is then not asked about prompts that it was trained on. If fewer than `pairs.min_prompts` are left,
    or none, the prompts of the pairs are used too.
    """
    asked = {row.question for row in chosen}
    online = choose([row for row in rows if row.question not in asked], config.online_prompts, config, seed)
    shared = len(online) < max(1, config.min_prompts)
    prompts = [scored_as(row) for row in (chosen if shared else []) + online]
    train, held_out = hold_out(prompts, config.held_out_share, seed)
    schema.write(out / ONLINE, train)
    schema.write(out / ONLINE_HELD_OUT, held_out)
    return {"online_prompts": float(len(prompts)), "online_prompts_shared": float(len(chosen) if shared else 0)}
