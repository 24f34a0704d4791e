"""Vectorised rolling hashes of all word n-grams of a text, modulo 2^64 (Karp and Rabin 1987)."""

from functools import cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_BYTES = np.random.default_rng(0).integers(2**64, size=256, dtype=np.uint64)
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse


def runs(text: str, size: int) -> Hashes:
    """Return the hash of every n-gram of `size` words of a normalised text, in order; a shorter text is one n-gram.

    Computed from prefix sums over bytes, so that the cost is independent of `size`. Equal in every process.
    """
    characters = np.frombuffer(f"{text} ".encode(), dtype=np.uint8)
    powers, inverses = _powers(len(characters).bit_length())
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_BYTES[characters] * powers[: len(characters)])])
    ends = np.flatnonzero(characters == ord(" "))
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = min(size, len(ends)) - 1
    firsts = starts[: len(ends) - last]
    hashes: Hashes = (sums[ends[last:]] - sums[firsts]) * inverses[firsts]
    return hashes


@cache
def _powers(bits: int) -> tuple[Hashes, Hashes]:
    """Return the powers 0, 1, … 2^bits - 1 of the base and of its inverse, modulo 2^64."""
    bases = (_BASE, pow(_BASE, -1, 2**64))
    first, second = (np.full(2**bits, base, dtype=np.uint64).cumprod() for base in bases)
    one = np.ones(1, dtype=np.uint64)
    return np.concatenate([one, first[:-1]]), np.concatenate([one, second[:-1]])
