"""Ingest on the sample corpus and on invalid folders."""

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.config import IngestConfig
from pipelines.runtime.errors import UserError
from tasks.ingest import ingest
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

RAW = ROOT / "data/raw"
TEXT = "The sluice keeper rings the bell twice before the gate is opened. " * 5


def settings(config: Config, source: Path, share: float = 0.5) -> IngestConfig:
    return config.ingest.model_copy(update={"source": source, "max_bytes": 10_000, "max_rejected_share": share})


def test_sample_corpus_is_read_completely(config: Config, tmp_path: Path) -> None:
    metrics = ingest(config.ingest.model_copy(update={"source": RAW}), tmp_path)
    found = list(documents.read(tmp_path / "documents"))
    assert metrics["rejected"] == 0
    assert metrics["documents"] == len(found) == len({each.id for each in found})
    assert {each.format for each in found} == {"html", "markdown", "pdf", "text"}
    assert [each.source for each in found] == sorted(each.source for each in found)


def test_unusable_files_are_rejected_with_reasons(config: Config, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(6):
        (raw / f"good{number}.txt").write_text(TEXT + str(number))
    (raw / "big.txt").write_text(TEXT * 100)
    (raw / "damaged.pdf").write_bytes(b"%PDF-1.4\nnothing")
    (raw / "empty.html").write_bytes(b"")
    (raw / "image.png").write_bytes(b"\x89PNG")
    (raw / "noise.txt").write_bytes(bytes(range(256)) * 20)
    assert ingest(settings(config, raw), tmp_path)["documents"] == 6
    rejects = {row["source"]: row["reason"] for row in artifacts.read_rows(tmp_path / "rejects.jsonl")}
    assert rejects.keys() == {"big.txt", "damaged.pdf", "empty.html", "image.png", "noise.txt"}
    assert "larger" in rejects["big.txt"] and "PDF" in rejects["damaged.pdf"] and "suffix" in rejects["image.png"]


def test_missing_empty_and_unusable_folders_raise_errors(config: Config, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with pytest.raises(UserError, match="not a folder"):
        ingest(settings(config, raw), tmp_path)
    raw.mkdir()
    with pytest.raises(UserError, match="empty"):
        ingest(settings(config, raw), tmp_path)
    (raw / "a.xyz").write_text("x")
    with pytest.raises(UserError, match="1 of 1 documents"):
        ingest(settings(config, raw, share=1.0), tmp_path)
    (raw / "b.txt").write_text(TEXT)
    with pytest.raises(UserError, match=r"a\.xyz"):
        ingest(settings(config, raw, share=0.4), tmp_path)


def test_ingest_is_deterministic(config: Config, tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        ingest(config.ingest.model_copy(update={"source": RAW}), tmp_path / name)
        written.append((tmp_path / name / "documents/00000.parquet").read_bytes())
    assert written[0] == written[1]
