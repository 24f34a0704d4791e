"""Random malformed files: truncated, corrupted, mislabelled, or valid with unexpected parts.

Each kind is a function of a `Breaker`, which has one seeded generator; tests/support/broken.py lists them by suffix.
This module has texts and archives; documents and rows are in separate modules.
"""

import io
import random
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SENTENCE = "The sluice keeper rings the bell twice before the gate is opened. "
GOOD = (SENTENCE * 8).encode()
ENCODINGS = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp1251", "iso8859_2", "koi8_r"),
    *("shift_jis", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr"),
)
INSERTS = (
    *("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\r", "\x00", "\x1b$B", "\xad", "\u200b", "\ufeff", "\ue000"),
    *("é", "Ж", "羊", "مرحبا", "👩‍🌾", "\U0010ffff", "_x_", "`_a_`", "&lt;", "&#xD83D;", "&#0;", "<br/>", "|", "[^1]"),
)
DATES: tuple[Any, ...] = (
    *(1998, 20210304, 202103, 0, -1, 1612051234, 1612051234567, 1612051234567890, 10**30, 1.6e9, 1e999, True, None),
    *("1998", "2021-02-30", "2021-W05-3", "03/04/2021", "Thu May 6 2021", "0101-01-01T00:00:00+00:00", ""),
    *(
        "D:20211332",
        "10000-01-01",
        "2021-05-06T07:08:09Z",
        "1612051234567",
        "last spring",
        "二〇二一年",
        [2021, 3],
        {"year": 2021},
    ),
)


class Breaker:
    """Seeded random source of file defects."""

    def __init__(self, seed: int) -> None:
        """Load real pages and PDFs from the sample corpus."""
        self.random = random.Random(seed)
        raw = ROOT / "data/raw"
        self.real = {kind: [path.read_bytes() for path in raw.rglob(f"*.{kind}")] for kind in ("html", "pdf")}

    def any(self, choices: Sequence[Any]) -> Any:
        """Return a random choice."""
        return self.random.choice(choices)

    def sometimes(self, share: float = 0.3) -> bool:
        """Return True with probability `share`."""
        return self.random.random() < share

    def cut(self, data: bytes) -> bytes:
        """Return a truncated file."""
        return data[: self.random.randrange(1, len(data))]

    def corrupted(self, data: bytes) -> bytes:
        """Return a file with about 2% of its bytes replaced."""
        changed = bytearray(data)
        for _ in range(max(1, len(data) // 50)):
            changed[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(changed)

    def noise(self) -> bytes:
        """Return random bytes."""
        return self.random.randbytes(self.random.randrange(1, 5000))

    def a(self, kind: str) -> bytes:
        """Return a real file."""
        real: bytes = self.any(self.real[kind])
        return real

    def text(self) -> str:
        """Return prose with characters that readers handle badly."""
        parts = [SENTENCE] * self.random.randrange(1, 12)
        for _ in range(self.random.randrange(4)):
            parts.insert(self.random.randrange(len(parts) + 1), self.any(INSERTS))
        return "".join(parts)

    def encoded(self, text: str) -> bytes:
        """Return a text in a random encoding, sometimes with invalid bytes."""
        data = bytearray(text.encode(self.any(ENCODINGS), "replace"))
        for _ in range(self.any((0, 0, 1, 3))):
            data.insert(self.random.randrange(len(data) + 1), self.random.randrange(128, 256))
        return bytes(data)

    def damaged(self, data: bytes) -> bytes:
        """Return a file, sometimes truncated or corrupted."""
        return self.any((bytes, bytes, bytes, self.cut, self.corrupted))(data)


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    """Return a TAR archive of one file; surrogates in its name encode bytes (surrogateescape)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def zip_of_odd_names(b: Breaker) -> bytes:
    """Return a ZIP archive with names in no valid encoding."""
    odd = b.random.randbytes(4).replace(b"/", b"\xe4")
    return zipped({"AAAA.txt": GOOD, "B/CCCC.md": GOOD}).replace(b"AAAA", odd).replace(b"CCCC", odd)


def tar_of_odd_names(b: Breaker) -> bytes:
    """Return a TAR archive with a name that is not UTF-8, escapes the archive, or exceeds a header."""
    return tarred(b.any(("m\udce4rz.txt", "\udcff.md", f"../\udce4/{'x' * 200}.txt", "a\nb.txt", "C:\\x.txt")), GOOD)
