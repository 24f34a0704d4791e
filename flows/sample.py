"""The sample questions shipped with the project: which files are still unmodified, and whether they fit the documents.

Reads data/sample_manifest.json, which holds hashes of the questions about the sample documents, all (data/questions) or
a few (data/quick), and the folder of questions; writes nothing. Questions about general knowledge fit any corpus.
"""

import hashlib
from pathlib import Path

from pipelines import artifacts
from pipelines.user_files import read_text

MANIFEST = Path("data/sample_manifest.json")


def questions(folder: Path) -> list[Path]:
    """Return the files of `folder` that hold unmodified sample questions."""
    known = artifacts.read_json(MANIFEST)["questions"] if MANIFEST.is_file() else {}
    return [path for path in sorted(folder.glob("*.jsonl")) if fingerprint(path) in known.get(path.name, ())]


def fingerprint(path: Path) -> str:
    """Return the hash of a text file, independent of line endings and encoding."""
    return hashlib.sha256(read_text(path).encode()).hexdigest()


def elsewhere(folder: Path, documents: Path) -> list[str]:
    """Return the source documents that the questions of `folder` name, if none of them is below `documents`."""
    named = sorted(_sources(folder))
    return [] if any(is_there(source, documents) for source in named) else named


def missing(folder: Path, documents: Path) -> dict[str, Path]:
    """Return the source documents that the questions of `folder` name and that are not below `documents`.

    Each has the file of a question that names it. The result is empty if all are missing: `split` ignores questions
    about another corpus.
    """
    named = _sources(folder)
    found = {source: file for source, file in named.items() if not is_there(source, documents)}
    return found if len(found) < len(named) else {}


def _sources(folder: Path) -> dict[str, Path]:
    """Return the documents that questions name, with the file of the questions; `split` reports other `sources`."""
    files = sorted(folder.glob("*.jsonl"))
    named = ((path, row.get("sources")) for path in files for row in artifacts.each_row(path))
    return {str(source): path for path, sources in named if isinstance(sources, list) for source in sources}


def is_there(source: str, documents: Path) -> bool:
    """Return whether a document is a file or an entry of one (`mail.zip/2024/a.docx`, `rows.jsonl#17`)."""
    place = documents / source.partition("#")[0]
    return any(each.is_file() for each in (place, *place.parents) if each.is_relative_to(documents))
