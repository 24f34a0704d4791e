"""What documents are compared by: hashes of the address and of the text, and MinHash bands (Broder 1997) of the text.

A document is 8 bytes an address, 8 a text and 8 a band here, so that millions are compared in memory.
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
os.environ.setdefault("DAFT_RUNNER", "native")  # in a process of Ray's, too, this is the work of one core

import daft
from daft.functions import minhash

Hashes = npt.NDArray[np.uint64]

NONE = 0
"""The key of a document that has no address, or no word: it is like nothing."""
_TRACKING = frozenset({"fbclid", "gclid", "dclid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid"})


@dataclass(frozen=True)
class Banding:
    """How near duplicates are looked for: runs of `shingle` words, and `bands` bands of `rows` hashes each."""

    shingle: int
    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Return the probability that a pair of that Jaccard similarity is found: 1 - (1 - s^rows)^bands."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands


@dataclass(frozen=True)
class Keys:
    """What n documents are compared by."""

    address: Hashes
    """(n,)"""
    text: Hashes
    """(n,)"""
    bands: Hashes
    """(n, bands)"""
    size: npt.NDArray[np.int64]
    """(n,): characters of the text."""


def banding(shingle: int, hashes: int, similarity: float, recall: float) -> Banding:
    """Return the banding of at most `hashes` hashes that finds pairs of `similarity` with probability `recall`.

    Of those that do it has the most rows, which lets the fewest of other pairs be candidates; where none does, one row.
    """
    every = [Banding(shingle, hashes // rows, rows) for rows in range(1, hashes + 1)]
    return max(
        (each for each in every if each.recall(similarity) >= recall), key=lambda each: each.rows, default=every[0]
    )


def of_shard(shard: Path, banding: Banding) -> Keys:
    """Return the keys of a shard's documents."""
    table = pq.read_table(shard, columns=["url", "text"])
    found = table.column("text").to_pylist()
    texts = [normalise(text) for text in found]
    return Keys(
        np.array([_hash(_page(url)) for url in table.column("url").to_pylist()], dtype=np.uint64),
        np.array([_hash(text) for text in texts], dtype=np.uint64),
        bands(texts, banding),
        np.array([len(text) for text in found], dtype=np.int64),
    )


def joined(parts: Sequence[Keys]) -> Keys:
    """Return the keys of several shards as one."""
    return Keys(*(np.concatenate(each) for each in zip(*(vars(part).values() for part in parts), strict=True)))


def address(url: str | None) -> str | None:
    """Return a URL without scheme, www, fragment, tracking, last slash: they tell no pages apart.

    A site's front page is None: that is what careless canonical links of quite different pages name.
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
    """Return the address with its fragment, which names another page where a script draws it (`#/about`).

    Two anchors of one page have texts that are alike, and are found by these. A directive to the browser
    (`:~:text=`) is no part of the address.
    """
    found = address(url)
    fragment = urlsplit(url).fragment.partition(":~:")[0] if found and url else ""
    return f"{found}#{fragment}" if fragment else found


def bands(texts: Sequence[str], banding: Banding) -> Hashes:
    """Return a hash of each band of each text's MinHash signature: (texts, bands).

    The texts are normalised (`words.normalise`): Daft splits at single spaces. Two bands that differ have one hash once
    in 2^64.
    """
    hashes = banding.bands * banding.rows
    column = minhash(daft.col("text"), num_hashes=hashes, ngram_size=banding.shingle)
    frame = daft.from_pydict({"row": list(range(len(texts))), "text": list(texts)})
    table = frame.select(daft.col("row"), column.alias("signature")).to_arrow().sort_by("row")
    flat = table.column("signature").combine_chunks().flatten().to_numpy()
    signature = flat.astype(np.uint64).reshape(len(texts), banding.bands, banding.rows)
    factors = np.random.default_rng(0).integers(2**63, size=banding.rows, dtype=np.uint64) * 2 + 1
    found: Hashes = (signature * factors).sum(axis=2, dtype=np.uint64)
    return found


def _hash(key: str | None) -> int:
    return xxhash.xxh3_64_intdigest(key.encode()) or 1 if key else NONE
