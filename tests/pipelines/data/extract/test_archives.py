"""Archives, compressed files, rows and books, each created with its common library."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.extract import extraction_cache, readers
from pipelines.data.extract.readers import Found, Limits, Reject

TEXT = "The sluice keeper rings the bell twice before the gate is opened. " * 3
LIMITS = Limits(max_bytes=100_000, min_characters=100)


def read(folder: Path, name: str, data: bytes) -> list[Found]:
    path = folder / name
    path.write_bytes(data)
    return list(readers.extract(path, folder, LIMITS))


def texts(found: list[Found]) -> dict[str, str]:
    return {each.source: each.text for each in found if isinstance(each, Document)}


def reasons(found: list[Found]) -> dict[str, str]:
    return {each.source: each.reason for each in found if isinstance(each, Reject)}


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return file.getvalue()


def tarred(**files: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("_dot_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd)]
)
def test_compressed_file_is_read_by_its_inner_format(tmp_path: Path, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    found = read(tmp_path, f"a.txt.{suffix}", pack(TEXT.encode()))
    assert texts(found) == {f"a.txt.{suffix}": TEXT.strip()}


def test_archives_yield_only_their_files(tmp_path: Path) -> None:
    inner = gzip.compress(tarred(b_dot_md=TEXT.encode()))
    packed = zipped(a_dot_txt=TEXT.encode(), deep_dot_tgz=inner, image_dot_png=b"x", _dot_hidden=b"x")
    found = read(tmp_path, "all.zip", packed)
    assert texts(found) == {"all.zip/a.txt": TEXT.strip(), "all.zip/deep.tgz/b.md": TEXT.strip()}
    assert reasons(found) == {"all.zip/image.png": "unknown suffix '.png'"}


def test_path_traversal_in_archive_names_is_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    found = read(folder, "a.zip", zipped(**{"..__..__evil_dot_txt": TEXT.encode()}))
    assert len(texts(found)) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["raw", "a.zip"]


def test_rows_are_documents(tmp_path: Path) -> None:
    rows = [{"text": TEXT, "title": "One", "url": "https://a.example/1"}, {"body": TEXT + "two"}, {"n": 1}]
    long = json.dumps({"text": "x" * 200_000})
    lines = [json.dumps(rows[0]), "not json", json.dumps(rows[2]), long, "", json.dumps(rows[1])]
    found = read(tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert list(texts(found)) == ["a.jsonl#1", "a.jsonl#5"]
    assert isinstance(found[0], Document) and (found[0].title, found[0].url) == ("One", "https://a.example/1")
    assert list(reasons(found).values()) == [
        "not JSON",
        "no column of text (text, content, body, document)",
        "a line longer than 100000 bytes",
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"content": TEXT, "n": 1}, {"content": "short", "n": 2}]), file)
    found = read(tmp_path, "a.parquet", file.getvalue())
    assert list(texts(found)) == ["a.parquet#1"]
    assert reasons(found) == {"a.parquet#2": "less than 100 characters of text"}


def test_web_archive_yields_its_pages(tmp_path: Path) -> None:
    archive = b""
    for url, kind, status in (("1", "text/html", "200 OK"), ("2", "image/png", "200 OK"), ("3", "text/html", "404 No")):
        page = f"<html><body><main><p>{TEXT}</p></main></body></html>"
        answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n{page}"
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.example/{url}\r\n"
        head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
        archive += f"{head}{answer}\r\n\r\n".encode()
    (found,) = read(tmp_path, "crawl.warc.gz", gzip.compress(archive))
    assert isinstance(found, Document)
    assert (found.url, found.format, found.text) == ("https://a.example/1", "warc", TEXT.strip())


WORD = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'


def test_word_file_yields_paragraphs_lists_and_tables(tmp_path: Path) -> None:
    def paragraph(text: str, mark: str = "") -> str:
        return f"<w:p>{mark}<w:r><w:t>{text}</w:t></w:r></w:p>"

    item = "<w:pPr><w:numPr/></w:pPr>"
    table = "".join(f"<w:tr><w:tc>{paragraph(a)}</w:tc><w:tc>{paragraph(b)}</w:tc></w:tr>" for a, b in ("ab", "cd"))
    heading = '<w:pPr><w:pStyle w:val="berschrift1"/></w:pPr>'
    body = paragraph("Heading", heading) + paragraph(TEXT) + paragraph("one", item) + paragraph("two", item)
    core = """<p xmlns:d="http://purl.org/dc/elements/1.1/" xmlns:t="http://purl.org/dc/terms/">
        <d:title> The Rules </d:title><t:created>2019-01-01T00:00:00Z</t:created>
        <t:modified>2021-03-04T10:00:00Z</t:modified></p>"""
    styles = """<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
        <w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style></w:styles>"""
    files = {
        "word__document_dot_xml": WORD.format(body + f"<w:tbl>{table}</w:tbl>").encode(),
        "docProps__core_dot_xml": core.encode(),
        "word__styles_dot_xml": styles.encode(),
    }
    (found,) = read(tmp_path, "a.docx", zipped(**files))
    assert isinstance(found, Document) and found.title == "The Rules"
    assert (found.date, found.headings) == ("2021-03-04", ("Heading",))
    assert found.text.split("\n\n") == ["Heading", TEXT.strip(), "- one\n- two", "a | b\nc | d"]


def test_book_yields_chapters_in_order(tmp_path: Path) -> None:
    package = """<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
        <dc:title>The Light</dc:title><dc:date>1871</dc:date></metadata><manifest><item id="b" href="two.xhtml"/>
        <item id="a" href="one.xhtml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
    container = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
        <rootfile full-path="OEBPS/book.opf"/></rootfiles></container>"""
    files = {
        "META-INF__container_dot_xml": container.encode(),
        "OEBPS__book_dot_opf": package.encode(),
        "OEBPS__one_dot_xhtml": f"<html><body><p>First. {TEXT}</p></body></html>".encode(),
        "OEBPS__two_dot_xhtml": b"<html><body><h2>Oil</h2><p>Second.</p></body></html>",
    }
    (found,) = read(tmp_path, "a.epub", zipped(**files))
    assert isinstance(found, Document) and found.title == "The Light"
    first, *second = found.text.split("\n\n")
    assert first.startswith("First.") and second == ["Oil", "Second."]
    assert (found.date, found.headings) == ("1871", ("Oil",))


ENTITY = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("bomb.txt.gz", gzip.compress(bytes(40_000_000)), "larger than 100000 bytes"),
        ("bomb.zip", zipped(a_dot_txt=bytes(40_000_000)), "when unpacked"),
        ("cut.txt.gz", gzip.compress(TEXT.encode())[:-9], "damaged"),
        ("cut.zip", zipped(a_dot_txt=TEXT.encode())[:-30], "damaged"),
        ("cut.tar", tarred(a_dot_txt=TEXT.encode())[:520], "damaged"),
        ("cut.parquet", b"PAR1 nothing", "damaged"),
        ("cut.docx", b"PK nothing", "DOCX"),
        ("empty.docx", zipped(a_dot_txt=b""), "DOCX"),
        ("cut.epub", zipped(a_dot_txt=b""), "EPUB"),
        ("empty.zip", zipped(), "holds no document"),
        ("links.tar", tarred(), "holds no document"),
        ("nul.txt", b"\0" * 1000, ""),
        ("large.txt", TEXT.encode() * 1000, "larger than 100000 bytes"),
        ("secret.docx", zipped(word__document_dot_xml=(ENTITY + WORD.format("&e;")).encode()), "less than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold the time they were made at
)
def test_damaged_and_oversized_files_are_rejected_with_reasons(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    found = read(tmp_path, name, data)
    assert found and all(isinstance(each, Reject) for each in found)
    assert why in " ".join(reasons(found).values())


def test_archive_nesting_is_limited(tmp_path: Path) -> None:
    data = zipped(a_dot_txt=TEXT.encode())
    for _ in range(4):
        data = zipped(a_dot_zip=data)
    assert list(reasons(read(tmp_path, "a.zip", data)).values()) == ["more than 3 archives deep"]


def stored(found: list[Found], folder: Path) -> None:
    """Write documents to every storage format and check the round trip."""
    read_ = [each for each in found if isinstance(each, Document)]
    documents.write_shard(folder / "table.parquet", read_)
    assert list(documents.read(folder / "table.parquet")) == read_
    assert len(list(documents.identified(read_))) == len(read_)
    artifacts.write_rows(folder / "rejects.jsonl", [vars(each) for each in found if isinstance(each, Reject)])
    assert artifacts.read_rows(folder / "rejects.jsonl") == [vars(each) for each in found if isinstance(each, Reject)]
    assert [extraction_cache.parsed(extraction_cache.written(each)) for each in found] == found


def test_lone_surrogates_are_replaced_and_pairs_joined(tmp_path: Path) -> None:
    odd = {"text": f"{TEXT} \ud83d\ude00 \udcb2", "title": "A \udcb2", "url": "https://a.example/\ud800"}
    whole = json.dumps({"text": TEXT, "other": 0})
    deep = "[" * 10**4 + "]" * 10**4
    lines = [json.dumps(odd), *(whole.replace("0}", f"{value}}}") for value in ("9" * 5000, deep, "NaN"))]
    found = read(tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert isinstance(found[0], Document) and found[0].text.endswith("😀 \ufffd") and found[0].title == "A \ufffd"
    assert list(texts(found)) == ["a.jsonl#1", "a.jsonl#2", "a.jsonl#4"]
    assert reasons(found) == {"a.jsonl#3": "nested too deeply"}
    stored(found, tmp_path)


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from([TEXT, TEXT + "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
LITERALS = (
    VALUES.map(json.dumps)
    | st.sampled_from(
        ["9" * 5000, "-" + "9" * 5000, "1e999", "1" * 400 + ".5", "[" * 3000 + "]" * 3000, '{"a":' * 3000]
    )
    | st.sampled_from([json.dumps(TEXT), r'"\ud83d\ude00 \udead' + TEXT + '"'])
)
COLUMNS = st.sampled_from(["text", "content", "title", "url", "date", "timestamp", "published", "other"])
ROWS = st.lists(st.tuples(COLUMNS, LITERALS), max_size=6).map(
    lambda pairs: "{" + ", ".join(f'"{name}": {literal}' for name, literal in pairs) + "}"
)


@given(st.lists(ROWS | LITERALS | st.binary(max_size=9).map(lambda raw: raw.decode("latin-1")), max_size=6))
def test_random_rows_are_read_or_rejected_and_can_be_stored(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = "\n".join(lines).encode()
        found = read(Path(folder), "a.jsonl", data)
        assert len(found) == max(1, sum(bool(line.strip()) for line in data.split(b"\n")))
        stored(found, Path(folder))


def parquet(table: pa.Table, **how: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **how)
    return file.getvalue()


def test_bad_cell_affects_only_itself(tmp_path: Path) -> None:
    times = pa.array([0, 2**62, -(2**62)], pa.timestamp("us", "UTC"))
    names = pa.array([b"One", b"\xff\xfe\x00", b"Three"])
    found = read(tmp_path, "a.parquet", parquet(pa.table({"text": [TEXT] * 3, "date": times, "title": names})))
    assert [each.date for each in found if isinstance(each, Document)] == ["1970-01-01", None, None]
    assert [each.title for each in found if isinstance(each, Document)] == ["One", "", "Three"]
    price = "The café on “Candle Street” charges £5. " * 4
    raw = [TEXT.encode(), price.encode("cp1252"), bytes(range(256)), None]
    for column in (pa.array(raw), pa.array(raw).view(pa.string()), pa.array(raw).view(pa.string()).dictionary_encode()):
        found = read(tmp_path, "b.parquet", parquet(pa.table({"text": column})))
        assert texts(found)["b.parquet#2"] == price.strip() and list(reasons(found)) == ["b.parquet#3", "b.parquet#4"]


def test_damaged_row_group_affects_only_itself(tmp_path: Path) -> None:
    table = pa.table({"text": [f"{number} {TEXT}" for number in range(3)]})
    data = bytearray(parquet(table, row_group_size=1))
    where = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    start = where.dictionary_page_offset or where.data_page_offset
    data[start : start + where.total_compressed_size] = bytes(where.total_compressed_size)
    found = read(tmp_path, "a.parquet", bytes(data))
    assert [text[0] for text in texts(found).values()] == ["0", "2"]
    assert [reason.startswith("row group 2 is damaged") for reason in reasons(found).values()] == [True]


def test_bad_file_in_archive_affects_only_itself(tmp_path: Path) -> None:
    data = zipped(a_dot_txt=TEXT.encode(), b_dot_txt=TEXT.encode(), c_dot_txt=TEXT.encode(), d_dot_txt=TEXT.encode())
    torn = data.replace(b"a.txt", b"x.txt", 1)  # the file's own name is not the directory's
    entry = torn.rindex(b"PK\x01\x02", 0, torn.rindex(b"b.txt"))
    torn = torn[: entry + 8] + b"\x01" + torn[entry + 9 :]  # encrypted
    entry = torn.rindex(b"PK\x01\x02", 0, torn.rindex(b"c.txt"))
    torn = torn[: entry + 10] + b"\x63" + torn[entry + 11 :]  # compressed by an unknown method
    found = read(tmp_path, "a.zip", torn)
    assert list(texts(found)) == ["a.zip/d.txt"]
    assert reasons(found)["a.zip/b.txt"] == "encrypted" and len(reasons(found)) == 3


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4), st.booleans())
def test_archive_files_with_arbitrary_names_are_read(names: list[bytes], tar: bool) -> None:
    file = io.BytesIO()
    if tar:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
            for name in names:
                member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape") + ".txt")
                member.size = len(TEXT)
                archive.addfile(member, io.BytesIO(TEXT.encode()))
        data = file.getvalue()
    else:
        places = {f"{number}".rjust(len(name), "Q").encode(): name for number, name in enumerate(names)}
        data = zipped(**{place.decode() + "_dot_txt": TEXT.encode() for place in places})
        for place, name in places.items():
            data = data.replace(place + b".txt", name + b".txt")
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), f"a.{'tar' if tar else 'zip'}", data)
        assert found
        stored(found, Path(folder))
