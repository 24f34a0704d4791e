"""Each recipe runs from base to DPO with its own parameters, on a tiny random model of its architecture."""

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.commands.use import use
from pipelines import artifacts
from pipelines.alignment.preferences.online_prompts import ONLINE_HELD_OUT
from pipelines.artifacts import Row
from pipelines.config import Config, load
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.models import adapters, loading
from pipelines.runtime.tracking import started
from pipelines.training.checkpoints import Checkpoints
from tasks.align import align
from tasks.base import base as store_base
from tasks.evaluate import evaluate
from tasks.sft import sft
from tests.conftest import ROOT
from tests.support.recipe_models import save_tiny
from tests.support.rows import training_row
from tests.support.tables import write_table
from tests.test_recipe_memory import MODELS

pytestmark = pytest.mark.slow

TEXT = "Wilmot Fanthorn restored the mill in 1921. The bell came from Garrick Bay. "
ANSWERS = {"Who restored the mill?": "Wilmot Fanthorn.", "Where did the bell come from?": "Garrick Bay."}


@pytest.fixture
def data(project: Path) -> None:
    """Write the outputs of split, curate and preferences, and one question per set and split."""
    split, curate, preferences = (artifacts.fresh(name) for name in ("split", "curate", "pairs/first"))
    document = {"id": "d1", "source": "mill.md", "title": "Mill", "text": TEXT, "language": "en"}
    for side in ("train", "test"):
        write_table(split / f"{side}.parquet", [document])
    chats = [training_row(question, answer).as_row() for question, answer in ANSWERS.items()]
    rows = [*chats, training_row("Who restored the sun?").as_row()]
    artifacts.write_rows(curate / "train.jsonl", rows)
    artifacts.write_rows(curate / "validation.jsonl", rows[:1])
    artifacts.write_rows(preferences / "train.jsonl", [_pair(question) for question in ANSWERS])
    artifacts.write_rows(preferences / ONLINE_HELD_OUT, rows[:1])
    (project / "data/questions").mkdir(parents=True)
    for name in SETS:
        asked = [
            {"id": f"{name}-{each}", "question": f"Who is {name}, {each}?", "answer": "Wilmot", "split": each}
            for each in SPLITS
        ]
        artifacts.write_rows(project / f"data/questions/{name}.jsonl", asked)


def _pair(question: str) -> Row:
    return {
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": ANSWERS[question]}],
        "rejected": [{"role": "assistant", "content": "It was the miller."}],
        "kind": "answer",
        "source": None,
        "reference": ANSWERS[question],
        "provenance": "sample",
        "margin": 1.0,
    }


def applied(recipe: Path, model: Path) -> Config:
    """Return the parameters of a recipe, with its model replaced by the one in `model`."""
    use(Console(quiet=True), recipe)
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["base"] |= {"model": str(model)}
    if values["base"]["chat_template"]:
        values["base"]["chat_template"] = str(ROOT / values["base"]["chat_template"])
    values["compute"] |= {"device": "cpu", "precision": "bf16", "threads": 1}
    values["training"] |= {"optimizer": "adamw", "launch": None, "sharded": False}  # states of 8 bits need a GPU
    values["evaluate"] |= {"max_new_tokens": 4}
    values["sft"] |= {"lm_tokens": 16}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return load()


@pytest.mark.parametrize("recipe", MODELS, ids=lambda path: path.stem)
def test_recipe_runs_from_base_to_dpo(recipe: Path, project: Path, data: None) -> None:
    name = yaml.safe_load(recipe.read_text())["base"]["model"].removeprefix("hf:").partition("@")[0]
    save_tiny(name, project / "tiny")
    settings = applied(recipe, project / "tiny")
    base, tuned, aligned = artifacts.fresh("base"), artifacts.fresh("sft"), artifacts.fresh("align/dpo")
    assert store_base(base, settings.base, settings.compute)["parameters"] > 1000
    tok = loading.tokenizer(base)
    assert tok.pad_token_id not in (None, tok.eos_token_id)
    curate, split, shared = (
        Path("artifacts/curate"),
        Path("artifacts/split"),
        (settings.training, settings.compute, settings.base),
    )
    with started("sft", {}) as run:
        metrics = sft(base, curate, split, tuned, settings.sft, *shared, run, Checkpoints())
    assert metrics["rows"] == 3 and 0 < metrics["learnt_share"] < 1
    assert "## Row 1: answer" in (tuned / "preview.md").read_text()
    for model in (base, tuned):
        out = artifacts.fresh(f"evaluate/{model.name}")
        scores = evaluate(model, split, out, settings.evaluate, settings.compute, settings.curate.refusal)
        assert len(artifacts.read_rows(out / "answers.jsonl")) == len(SETS)  # the validation questions
        assert scores["domain_bits_per_byte"] > 0
    with started("align@dpo", {}) as run:
        pairs, dpo, new = Path("artifacts/pairs/first"), settings.align.dpo, settings.align.tuning
        preference = align(pairs, tuned, aligned, dpo, *shared, run, Checkpoints(), new)
    assert preference["loss"] > 0
    assert adapters.parent(aligned) == (tuned if settings.sft.tuning.selects else base)
