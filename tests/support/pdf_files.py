"""Build PDF files with lines at given positions."""

from collections.abc import Sequence

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
_INFO = b"<< >>"
_TAIL = b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF"


Placed = tuple[float, float, str]
"""Left end, baseline and text of a line."""


def pdf_file(
    pages: Sequence[Sequence[Placed] | None], font: bytes = b"Helvetica", size: int = 12, info: bytes = _INFO
) -> bytes:
    """Return a valid PDF with the given lines on each page; None is a page whose object is null."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", _FONT % font, info]
    kids = []
    for lines in pages:
        if lines is None:
            objects.append(b"null")
            kids.append(b"%d 0 R" % len(objects))
            continue
        body = "\n".join(f"/F1 {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj" for x, y, text in lines)
        content = f"BT {body} ET".encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        resources = b"/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 595 842]"
        objects.append(b"<< /Type /Page /Parent 2 0 R %s /Contents %d 0 R >>" % (resources, len(objects)))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, offsets = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return out + _TAIL % (size, table, size, b"/Info 4 0 R ", len(out))
