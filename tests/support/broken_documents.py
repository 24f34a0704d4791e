"""Documents that can be opened, with unexpected structure, parts and metadata."""

from collections.abc import Callable, Sequence, Set

from tests.support.broken_files import DATES, ENCODINGS, INSERTS, SENTENCE, Breaker, zipped

TAGS = (
    *("div", "p", "span", "table", "tr", "td", "ul", "li", "article", "main", "aside", "section", "pre", "code", "h1"),
    *("details", "summary", "noscript", "template", "ruby", "rt", "math", "mi", "dl", "dd", "svg", "iframe", "select"),
)
ATTRIBUTES = ("", ' hidden=""', ' style="display:none"', ' style="VISIBILITY : hidden"', ' aria-hidden="true"', " a=b")
OFFICE, PURL = "http://schemas.openxmlformats.org", "http://purl.org"
WORD = (
    *("p", "r", "t", "tbl", "tr", "tc", "sdt", "sdtContent", "ins", "del", "delText", "moveFrom", "moveTo", "pict"),
    *("txbxContent", "noBreakHyphen", "softHyphen", "br", "tab", "sym", "ruby", "rt", "rubyBase", "hyperlink", "rPr"),
    *("vanish", "footnoteReference", "fldSimple", "instrText", "smartTag", "numPr", "pStyle", "object", "sectPr"),
)


def markdown(b: Breaker) -> bytes:
    """Return Markdown with YAML, TOML or no front matter."""
    titles = ('"\\ud83d"', "'\\uDC00'", "[1", "{a: b}", "&a [*a]", "!!python/name:os.system", "x: y", "9" * 5000, "|")
    rule, equals = b.any((("---", ": "), ("+++", " = ")))
    head = f"{rule}\ntitle{equals}{b.any(titles)}\ndate{equals}{b.any(DATES)}\n{b.any((rule, '...', ''))}\n"
    code = f"```\n_a_ = b_\n{b.any(('```', ''))}\n"
    return b.encoded(f"{b.any((head, '', '---'))}\n{b.text()}\n\n{code}\n{b.text()}")


def tree(b: Breaker, tags: Sequence[str], depth: int, element: Callable[[str], tuple[str, str]]) -> str:
    """Return nested elements with text, some in invalid places."""
    parts = []
    for _ in range(b.random.randrange(1, 5)):
        begin, end = element(b.any(tags))
        deeper = depth and b.sometimes(0.6)
        parts.append(f"<{begin}>{tree(b, tags, depth - 1, element) if deeper else b.any(('', SENTENCE))}</{end}>")
    return "".join(parts)


def page(b: Breaker) -> bytes:
    """Return HTML of any structure, with hidden parts and a possibly wrong declared encoding."""
    body = tree(b, TAGS, 5, lambda tag: (tag + b.any(ATTRIBUTES), b.any((tag, tag, tag, "p"))))
    head = f'<meta charset="{b.any((*ENCODINGS, "no-such", ""))}"><title>&#xD83D;{b.any(INSERTS)}</title>'
    date = f'<meta property="article:published_time" content="{b.any(DATES)}">'
    return b.encoded(f"<html><head>{head}{date}</head><body>{body}{b.text()}</body></html>")


def docx(b: Breaker) -> bytes:
    """Return a Word file with elements in any order, and parts that are missing, damaged or misplaced."""
    main = b.any(("word/document.xml", "word/document2.xml", "document.xml"))
    space = b.any((f"{OFFICE}/wordprocessingml/2006/main", f"{PURL}/ooxml/wordprocessingml/main"))
    body = tree(b, WORD, 6, lambda tag: (f'w:{tag} w:id="1" w:val="1"', f"w:{tag}"))
    text = f"<w:p><w:r><w:t>{SENTENCE * 4}</w:t></w:r></w:p>"
    kind = f"{OFFICE}/officeDocument/2006/relationships/officeDocument"
    target = b.any((main, f"/{main}", "word/gone.xml", "../../x"))
    parts = {
        main: f'<w:document xmlns:w="{space}"><w:body>{text}{body}</w:body></w:document>',
        "_rels/.rels": f'<Relationships><Relationship Id="1" Type="{kind}" Target="{target}"/></Relationships>',
        "word/footnotes.xml": f'<w:footnotes xmlns:w="{space}"><w:footnote w:id="1">{text}</w:footnote></w:footnotes>',
        "docProps/core.xml": f'<x xmlns:d="{PURL}/dc/terms/"><d:modified>{b.any(DATES)}</d:modified></x>',
    }
    return _package(b, {name: xml.encode() for name, xml in parts.items()}, needed={main})


def epub(b: Breaker) -> bytes:
    """Return an EPUB with chapters that are missing, damaged, encrypted or in any encoding."""
    chapters = {f"c{number}.xhtml": page(b) for number in range(3)}
    items = "".join(f'<item id="{name}" href="{b.any((name, name, "gone.xhtml", "%FF"))}"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{b.any((name, name, "none"))}"/>' for name in chapters)
    about = f'<metadata xmlns:d="{PURL}/dc/elements/1.1/"><d:date>{b.any(DATES)}</d:date></metadata>'
    parts = f"{about}<manifest>{items}</manifest><spine>{spine}</spine>"
    book = f'<package xmlns="http://www.idpf.org/2007/opf">{parts}</package>'
    root = '<c xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfile full-path="b.opf"/></c>'
    needed = {"META-INF/container.xml": root.encode(), "b.opf": book.encode()}
    encrypted = {"META-INF/encryption.xml": b'<e><CipherReference URI="c1.xhtml"/></e>'} if b.sometimes() else {}
    return _package(b, needed | encrypted | chapters, needed=needed.keys())


def _package(b: Breaker, parts: dict[str, bytes], needed: Set[str]) -> bytes:
    """Return a ZIP package; parts that are not `needed` may be missing, truncated or corrupted."""
    present = {name: data for name, data in parts.items() if name in needed or b.sometimes(0.8)}
    return zipped({name: data if name in needed else b.damaged(data) for name, data in present.items()})


def pdf(b: Breaker) -> bytes:
    """Return a PDF with null, missing or rotated pages, and malformed title and dates."""
    lines = "".join(f"1 0 0 1 {b.any((72, 72, 330))} {700 - 14 * n} Tm ({SENTENCE}) Tj " for n in range(8))
    stream = f"BT /F1 11 Tf {lines} ET"
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    box = b.any(("[0 0 612 792]", "[0 0 0 0]", "[9 9]"))
    sheet = f"/MediaBox {box} /Rotate {b.any((0, 90, 7))} /Resources {font} /Contents 9 0 R"
    page = f"<< /Type /Page /Parent 2 0 R {sheet} >>"
    title = b.any(("<FEFF0046D83D0046>", "<FEFFDC00>", "(\\304rger)", "null", "[1 2]"))
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R /Outlines 2 0 R >>",
        2: "<< /Type /Pages /Kids [3 0 R 4 0 R 5 0 R] /Count 3 >>",
        **{number: b.any((page, page, "null", "<< /Type /Page >>", "[1]")) for number in (3, 4, 5)},
        9: f"<< /Length {len(stream) + b.any((0, 0, 7))} >>\nstream\n{stream}\nendstream",
        10: f"<< /Title {title} /ModDate ({b.any(DATES)}) >>",
    }
    body = "".join(f"{number} 0 obj\n{value}\nendobj\n" for number, value in objects.items() if b.sometimes(0.97))
    return f"%PDF-1.4\n{body}trailer\n<< /Size 11 /Root 1 0 R /Info 10 0 R >>\n%%EOF".encode()
