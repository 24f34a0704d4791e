"""WARC reader: HTTP encodings, wrong headers, and damage that affects only one record."""

import bz2
import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from fastwarc.stream_io import BrotliWriter, ZstdWriter
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.documents import UnreadableError
from pipelines.data.extract.web import http_body, warc

LONGEST = 100_000
TEXT = (
    "<html><body><main><p>{} The sluice keeper rings the bell twice before the gate is opened.</p></main></body></html>"
)


def written(writer: type[BrotliWriter | ZstdWriter], data: bytes) -> bytes:
    file = io.BytesIO()
    stream = writer(file)
    stream.write(data)
    stream.close()
    return file.getvalue()


def raw_deflated(data: bytes) -> bytes:
    zipper = zlib.compressobj(wbits=-15)
    return zipper.compress(data) + zipper.flush()


def chunked(data: bytes) -> bytes:
    parts = [data[at : at + 97] for at in range(0, len(data), 97)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-Gzip": lambda data: gzip.compress(data) + b"\0\0",
    "deflate": zlib.compress,
    "deflate ": raw_deflated,
    "br": lambda data: written(BrotliWriter, data),
    "zstd": lambda data: written(ZstdWriter, data),
    "identity": bytes,
}


@dataclass(frozen=True)
class Answer:
    """A response as stored in an archive."""

    number: int
    content: tuple[str, ...] = ()
    is_chunked: bool = False
    lies: bool = False
    damage: str | None = None

    @property
    def page(self) -> bytes:
        return TEXT.format(self.number).encode()

    def body(self) -> bytes:
        body = self.page
        for name in () if self.lies else self.content:
            body = ENCODE[name](body)
        return chunked(body) if self.is_chunked and not self.lies else body

    def record(self, end: str = "\r\n") -> bytes:
        http = [b"HTTP/1.1 200 OK", b"Content-Type: text/html; charset=utf-8"]
        http += [b"Content-Encoding: " + ", ".join(self.content).encode()] if self.content else []
        http += [b"Transfer-Encoding: chunked"] if self.is_chunked else []
        content = end.encode().join([*http, b"", self.body()])
        length = len(content) + {"short": -50, "long": 60, "past the end": 10**6}.get(self.damage or "", 0)
        lines = ["WARC/1.1", "WARC-Type: response", f"WARC-Target-URI: https://a.example/{self.number}"]
        lines += ["Content-Type: application/http; msgtype=response"]
        lines += [f"Content-Length: {length}"] if self.damage != "no length" else []
        lines += ["", ""]
        head = end.join(lines).replace("WARC/1.1", "XARC" if self.damage == "no start" else "WARC/1.1").encode()
        whole = head + content + 2 * end.encode()
        return whole[:-60] if self.damage == "torn" else whole


def given_by(archive: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Return the pages by URL, and the rejection reasons."""
    found = list(warc.pages(io.BytesIO(archive), LONGEST))
    pages = {each.url: each.data for each in found if isinstance(each, warc.Page)}
    return pages, [str(each) for each in found if isinstance(each, UnreadableError)]


DAMAGE = st.none() | st.sampled_from(["short", "long", "past the end", "no length", "no start", "torn"])
CONTENT = st.lists(st.sampled_from(sorted(ENCODE)), max_size=2).map(tuple)
ANSWER = st.builds(Answer, st.just(0), CONTENT, st.booleans(), st.booleans(), DAMAGE)
PACK = {
    "plain": b"".join,
    "members": lambda records: b"".join(map(gzip.compress, records)),
    "one member": lambda records: gzip.compress(b"".join(records)),
    "zstd": lambda records: written(ZstdWriter, b"".join(records)),
}


@given(st.lists(ANSWER, max_size=6), st.sampled_from(sorted(PACK)), st.sampled_from(["\r\n", "\n"]))
def test_valid_records_are_read_among_invalid_ones(answers: list[Answer], pack: str, end: str) -> None:
    numbered = [replace(answer, number=number) for number, answer in enumerate(answers)]
    pages, reasons = given_by(PACK[pack]([answer.record(end) for answer in numbered]))
    sound = {f"https://a.example/{each.number}": each.page for each in numbered if each.damage is None}
    assert pages == sound
    assert len(reasons) <= len(numbered) - len(sound)
    assert bool(reasons) == (len(sound) < len(numbered))


@given(st.integers(2, 6), st.data())
def test_damaged_gzip_member_affects_only_its_record(count: int, data: st.DataObject) -> None:
    members = [gzip.compress(Answer(number).record()) for number in range(count)]
    hurt = data.draw(st.integers(0, count - 1), label="member")
    at = data.draw(st.integers(0, len(members[hurt]) - 1), label="byte")
    kind = data.draw(st.sampled_from(["cut", "flipped", "zeroed"]))
    member = bytearray(members[hurt])
    if kind == "cut":
        del member[at:]
    elif kind == "flipped":
        member[at] ^= 0xFF
    else:
        member[at : at + 40] = bytes(len(member[at : at + 40]))
    members[hurt] = bytes(member)
    pages, _ = given_by(b"".join(members))
    others = {f"https://a.example/{number}": Answer(number).page for number in range(count) if number != hurt}
    assert (hurt == 0 and at < 4) or others.items() <= pages.items()  # the first bytes say how an archive is packed
    assert all(page == Answer(int(url.rsplit("/")[-1])).page for url, page in pages.items())


def test_truncated_archive_yields_complete_records_and_a_reason() -> None:
    archive = b"".join(gzip.compress(Answer(number).record()) for number in range(3))
    pages, reasons = given_by(archive[:-40])
    assert list(pages) == ["https://a.example/0", "https://a.example/1"] and reasons == ["damaged: truncated"]
    whole = b"".join(Answer(number).record() for number in range(3))
    assert given_by(whole[:-40])[1] == ["damaged: truncated"]
    assert given_by(b"") == ({}, [])
    assert given_by(b"no archive") == ({}, ["damaged: no record with a length starts here"])


def test_oversized_bodies_are_rejected_compressed_or_not() -> None:
    large, bomb = b"x" * 3 * LONGEST, gzip.compress(bytes(10_000_000))
    archive = Answer(0).record()
    for body, encoding in ((large, "identity"), (bomb, "gzip"), (written(BrotliWriter, bytes(10_000_000)), "br")):
        http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: %s\r\n\r\n%s" % (
            encoding.encode(),
            body,
        )
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(http)}\r\n\r\n"
        )
        archive += head.encode() + http + b"\r\n\r\n"
    pages, reasons = given_by(archive + Answer(1).record())
    assert len(pages) == 2 and reasons == [f"larger than {LONGEST} bytes"] * 3


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT.encode(), mtime=0)[:-12]),
        ("chunked", b"5\r\nabcde\r\nff\r\nabc"),
        ("chunked", b"5\r\nabcde\r\n3\r\nabcdef\r\n0\r\n\r\n"),
    ],
)
def test_truncated_body_is_unreadable(encoding: str, body: bytes) -> None:
    with pytest.raises(UnreadableError, match="damaged"):
        http_body.decoded(body, encoding, LONGEST)


def test_unknown_encoding_is_ignored() -> None:
    packed = bz2.compress(TEXT.encode())
    assert http_body.decoded(packed, "bzip2, utf-8,", LONGEST) == packed
