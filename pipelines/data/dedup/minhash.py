"""Deduplication keys: hashes of the URL and the text, and the LSH bands of the MinHash signature (Broder 1997).

A document takes 8 bytes for the URL, 8 for the text and 8 per band, so millions are compared in memory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from pipelines.text.words import normalise

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
os.environ.setdefault("DAFT_RUNNER", "native")  # one core per shard, also inside a Ray worker

import daft
from daft.functions import minhash

Hashes = npt.NDArray[np.uint64]

NONE = 0
"""Key of a document without a URL or without words; it matches no other document."""
_TRACKING = frozenset({"fbclid", "gclid", "dclid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid"})


@dataclass(frozen=True)
class LSHParameters:
    """MinHash LSH parameters: shingles of `shingle` words, and `bands` bands of `rows` hashes each."""

    shingle: int
    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Return the probability that a pair of Jaccard similarity s becomes a candidate: 1 - (1 - s^rows)^bands."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands


@dataclass(frozen=True)
class Keys:
    """Deduplication keys of n documents."""

    address: Hashes
    """(n,): hash of the normalised URL."""
    text: Hashes
    """(n,): hash of the normalised text."""
    bands: Hashes
    """(n, bands): hash of each LSH band."""
    size: npt.NDArray[np.int64]
    """(n,): number of characters."""


def banding(shingle: int, hashes: int, similarity: float, recall: float) -> LSHParameters:
    """Return LSH parameters with at most `hashes` hashes that find pairs of `similarity` with probability `recall`.

    Among the parameters that reach the recall, the one with most rows yields the fewest false candidates. If none
    does, use one row.
    """
    options = [LSHParameters(shingle, hashes // rows, rows) for rows in range(1, hashes + 1)]
    return max(
        (each for each in options if each.recall(similarity) >= recall), key=lambda each: each.rows, default=options[0]
    )


def of_shard(shard: Path, lsh: LSHParameters) -> Keys:
    """Return the keys of a shard's documents."""
    table = pq.read_table(shard, columns=["url", "text"])
    raw_texts = table.column("text").to_pylist()
    texts = [normalise(text) for text in raw_texts]
    return Keys(
        np.array([_hash(_page(url)) for url in table.column("url").to_pylist()], dtype=np.uint64),
        np.array([_hash(text) for text in texts], dtype=np.uint64),
        bands(texts, lsh),
        np.array([len(text) for text in raw_texts], dtype=np.int64),
    )


def joined(parts: Sequence[Keys]) -> Keys:
    """Concatenate the keys of several shards."""
    return Keys(*(np.concatenate(each) for each in zip(*(vars(part).values() for part in parts), strict=True)))


def address(url: str | None) -> str | None:
    """Normalise a URL: drop scheme, www, fragment, tracking parameters and trailing slash, which identify no page.

    A site's front page gives None, because wrong canonical links of many different pages point to it.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        return None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode(
        sorted((k, v) for k, v in pairs if k.lower() not in _TRACKING and not k.lower().startswith("utm_"))
    )
    path = parts.path.rstrip("/")
    return f"{host}{port}{path}?{query}" if host and (path or query) else None


def _page(url: str | None) -> str | None:
    """Return the normalised URL with its fragment, which identifies a page of a single-page application (`#/about`).

    Anchors of one page have similar texts and are found by text. A text directive (`:~:text=`) is not part of the URL.
    """
    found = address(url)
    fragment = urlsplit(url).fragment.partition(":~:")[0] if found and url else ""
    return f"{found}#{fragment}" if fragment else found


def bands(texts: Sequence[str], lsh: LSHParameters) -> Hashes:
    """Return a hash of each LSH band of each text's MinHash signature: (texts, bands).

    The texts must be normalised (`words.normalise`), because Daft splits at single spaces. The probability that two
    different bands collide is 2^-64.
    """
    hashes = lsh.bands * lsh.rows
    column = minhash(daft.col("text"), num_hashes=hashes, ngram_size=lsh.shingle)
    frame = daft.from_pydict({"row": list(range(len(texts))), "text": list(texts)})
    table = frame.select(daft.col("row"), column.alias("signature")).to_arrow().sort_by("row")
    flat = table.column("signature").combine_chunks().flatten().to_numpy()
    signature = flat.astype(np.uint64).reshape(len(texts), lsh.bands, lsh.rows)
    factors = np.random.default_rng(0).integers(2**63, size=lsh.rows, dtype=np.uint64) * 2 + 1
    hashed: Hashes = (signature * factors).sum(axis=2, dtype=np.uint64)
    return hashed


def _hash(key: str | None) -> int:
    return xxhash.xxh3_64_intdigest(key.encode()) or 1 if key else NONE
