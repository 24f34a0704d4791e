"""Data tasks on a corpus of several shards: local processes and Ray write the same bytes."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.executor import Executor
from tasks.clean import clean
from tasks.dedup import dedup
from tests.support import mixed_corpus as mixed

pytestmark = pytest.mark.slow

SEEN = "The keeper of the sluice rings the bell twice before the gate is opened in spring."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a corpus with three shards of mixed documents."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "documents").mkdir()
    every = list(mixed.corpus(240, seed=3))
    for number in (5, 100, 200):
        every[number] = replace(every[number], text=f"{every[number].text}\n\n{SEEN}")
    for number in range(3):
        documents.write_shard(folder / f"documents/{number:05}.parquet", every[80 * number : 80 * (number + 1)])
    return folder


def both(corpus: Path, out: Path, config: Config, runner: Executor) -> dict[str, bytes]:
    """Run clean and dedup and return the written files by name."""
    settings = config.clean.model_copy(update={"languages": []})
    passages = config.dedup.model_copy(update={"passages": "paragraph", "passage_words": 8})
    for name in ("clean", "dedup"):
        (out / name).mkdir(parents=True)
    clean(corpus, out / "clean", settings, runner)
    dedup(out / "clean", out / "dedup", passages, runner)
    return {str(path.relative_to(out)): path.read_bytes() for path in artifacts.files(out)}


def test_processes_and_ray_write_the_same_bytes(corpus: Path, tmp_path: Path, config: Config) -> None:
    native = both(corpus, tmp_path / "native", config, Executor())
    assert len(list(documents.shards(tmp_path / "native/dedup/documents"))) == 3
    assert both(corpus, tmp_path / "ray", config, Executor("ray")) == native


def test_duplicates_across_shards_and_passages_are_removed(corpus: Path, tmp_path: Path, config: Config) -> None:
    both(corpus, tmp_path, config, Executor())
    clusters = artifacts.read_rows(tmp_path / "dedup/clusters.jsonl")
    shard_of = {
        each.id: shard.name
        for shard in documents.shards(tmp_path / "clean/documents")
        for each in documents.read(shard)
    }
    apart = [
        row for row in clusters if len({shard_of[each["id"]] for each in [{"id": row["kept"]}, *row["members"]]}) > 1
    ]
    assert apart
    assert {row["example"] for row in artifacts.read_rows(tmp_path / "dedup/passages.jsonl")} == {SEEN}
    assert sum(SEEN in each.text for each in documents.read(tmp_path / "dedup/documents")) == 1
