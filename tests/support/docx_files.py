"""Build small Word files."""

import io
import zipfile
from collections.abc import Mapping

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_OTHERS = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)


def part(root: str, content: str, namespace: str = W) -> str:
    """Return a part of a Word file with the root `w:<root>`."""
    return f'<?xml version="1.0"?><w:{root} xmlns:w="{namespace}" {_OTHERS}>{content}</w:{root}>'


def docx_file(body: str, others: Mapping[str, str | bytes] | None = None, main: str = "word/document.xml") -> bytes:
    """Return a Word file with `body` as its main part, and other parts by name."""
    relationships = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="{main}"/></Relationships>'
    )
    parts = {"_rels/.rels": relationships, main: part("document", f"<w:body>{body}</w:body>"), **(others or {})}
    return zip_file(parts)


def zip_file(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP file of `parts`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def paragraph(*runs: str, properties: str = "") -> str:
    """Return a paragraph; runs that are not elements are text."""
    inner = "".join(each if each.startswith("<") else run(each) for each in runs)
    return f"<w:p><w:pPr>{properties}</w:pPr>{inner}</w:p>"


def run(text: str, properties: str = "") -> str:
    """Return a run of text."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'
