"""The index page of a run: verdict, metrics of all models and the champion, and links to every report.

Writes artifacts/index.html, which is not a stage output, so it may contain date and commit. All text in it is escaped.
"""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.promotion.changes import Pair, changes, paired, truth
from flows.promotion.promote import Promotion
from flows.run.description import Origin, checks
from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.evaluation.report.page import columns, rows
from pipelines.models.release import registry
from pipelines.runtime.html import render

PAGE = artifacts.ARTIFACTS / "index.html"
TEMPLATE = Path(__file__).parent / "index.html.jinja"
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def write(promotion: Promotion, settings: Config, origin: Origin) -> Path:
    """Write the page and return its path."""
    facts = {
        "promotion": promotion,
        "checks": checks(promotion),
        "columns": columns(promotion.comparison),
        "rows": rows(promotion.comparison),
        "validation_columns": columns(promotion.comparison["validation"]),
        "validation": rows(promotion.comparison["validation"]),
        "champion": champion(),
        "changes": changed(promotion),
        "truth": truth,
        "reports": reports(),
        "params": config.flat(settings),
        "origin": origin,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    PAGE.write_text(render(TEMPLATE, facts), encoding="utf-8")
    return PAGE


def reports() -> list[tuple[str, str]]:
    """Return address and title of every page below artifacts/, the comparison first, then by modification time."""
    pages = [path for path in artifacts.ARTIFACTS.rglob("*.html") if path != PAGE]
    pages.sort(key=lambda path: ("compar" not in path.as_posix(), path.stat().st_mtime, path.as_posix()))
    return [(Path(os.path.relpath(path, PAGE.parent)).as_posix(), _title(path)) for path in pages]


def champion() -> dict[str, Any] | None:
    """Return version, model and metrics of the champion; None when there is no champion."""
    version = registry.version_with_alias(registry.CHAMPION)
    if version is None:
        return None
    scores = json.loads(version.tags.get(f"{registry.SCORES}{version.tags.get(registry.FINGERPRINT, '')}", "{}"))
    return {"number": version.number, "model": version.tags.get("model", "?"), "scores": scores}


def changed(promotion: Promotion) -> dict[str, list[Pair]]:
    """Return the test questions that the version answers otherwise than the champion it was compared with, by change.

    It is empty if the two were not compared, or their answers are no longer in MLflow.
    """
    if not promotion.decision.get("against_champion"):
        return {}
    versions = {each.number: each for each in registry.versions()}
    former = versions.get(promotion.decision["champion"]["version"])
    pairs = None if former is None else paired(former, versions[promotion.version])
    return dict(changes(pairs)) if pairs else {}


def _title(path: Path) -> str:
    found = TITLE.search(path.read_text(encoding="utf-8")[:4000])
    return found[1].strip().removeprefix("Gradus: ") if found else path.stem.replace("_", " ")
