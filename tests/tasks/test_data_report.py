"""Data report on the sample corpus with hostile additions."""

from pathlib import Path

import pytest
from lxml import html

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data.executor import Executor
from pipelines.data.report import by_reason, changes
from pipelines.runtime.html import excerpt
from tasks.clean import clean
from tasks.data_report import data_report
from tasks.dedup import dedup
from tasks.ingest import ingest
from tasks.split import split
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

DATA = ROOT / "data"
HOSTILE = "<script>alert('read me')</script> "
TASKS = ("ingest", "clean", "dedup", "split")


def run(config: Config, source: Path, out: Path) -> dict[str, Path]:
    """Run the data tasks on the documents in `source` and return their output folders."""
    folders = {name: out / name for name in TASKS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    against = config.split.decontaminate.model_copy(update={"against": DATA / "questions"})
    settings = config.split.model_copy(update={"questions": DATA / "questions", "decontaminate": against})
    found = [
        ingest(config.ingest.model_copy(update={"source": source}), folders["ingest"]),
        clean(folders["ingest"], folders["clean"], config.clean, Executor()),
        dedup(folders["clean"], folders["dedup"], config.dedup, Executor()),
        split(folders["dedup"], folders["split"], settings, 17, Executor()),
    ]
    for folder, metrics in zip(folders.values(), found, strict=True):
        artifacts.complete(folder, {"metrics": metrics})
    return folders


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample corpus with a text that contains markup and an unreadable file."""
    folder = tmp_path_factory.mktemp("raw")
    for path in (DATA / "raw").rglob("*"):
        if path.is_file():
            (folder / path.relative_to(DATA / "raw")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(DATA / "raw")).write_bytes(path.read_bytes())
    (folder / "hostile.txt").write_text(HOSTILE * 60)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    return folder


def test_report_shows_every_step_and_reason_and_is_reproducible(config: Config, raw: Path, tmp_path: Path) -> None:
    folders = run(config, raw, tmp_path)
    funnel = data_report(folders, tmp_path / "page.html", config.data_report)
    assert funnel["found"] == funnel["read"] + 1 > funnel["clean"] > funnel["unique"] > funnel["training"]
    page = html.fromstring((tmp_path / "page.html").read_bytes())
    text = page.text_content()
    reasons = {
        row["reason"] for name in ("drops", "edits") for row in artifacts.read_rows(folders["clean"] / f"{name}.jsonl")
    }
    assert all(reason.replace("_", " ") in text for reason in reasons)
    for cluster in artifacts.read_rows(folders["dedup"] / "clusters.jsonl"):
        assert all(member["source"] in text for member in cluster["members"])
    assert "broken.pdf" in text and HOSTILE.strip() in text and not page.xpath("//script")
    assert not [each for each in page.xpath("//@src | //@href") if not each.startswith("#")]
    data_report(folders, tmp_path / "again.html", config.data_report)
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "page.html").read_bytes()


def test_examples_are_sampled_up_to_the_limit() -> None:
    rows = [{"reason": "few_words", "source": f"{number:03}.txt", "detail": ""} for number in range(100)]
    found = by_reason(rows, 5)["few_words"]
    assert (found.documents, len(found.examples)) == (100, 5)
    assert [row["source"] for row in found.examples] != [row["source"] for row in rows[:5]]
    assert by_reason(reversed(rows), 5)["few_words"].examples == found.examples


def test_changes_have_context_and_long_texts_are_shortened() -> None:
    before = "a\nb\nc\nd\ne\nf\ng\nh"
    assert changes(before, before.replace("d", "D")) == [(" ", "c"), ("-", "d"), ("+", "D"), (" ", "e")]
    assert changes(before, before) == []
    assert excerpt(f"begin {'word ' * 400}end", 30) == "begin word word word […] d word end"
