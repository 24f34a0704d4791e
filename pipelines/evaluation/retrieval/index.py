"""Search passages with BM25 (Robertson and Zaragoza 2009), in the variant of Lucene. Reads and writes nothing.

A lexical index needs no second model, so that nothing but the retrieved text differs from closed-book answers. The
constants are the usual k1 = 1.5 and b = 0.75.
"""

from collections import Counter
from collections.abc import Sequence, Set
from math import log

import bm25s
import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.retrieval.passages import Passage
from pipelines.evaluation.statements import content_stems
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track


class Index:
    """A BM25 index of passages, each with the title of its document."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        """Index `passages`.

        Raises:
            UserError: no passage contains a word to search for.
        """
        self.passages = list(passages)
        read = track(self.passages, "passages indexed", len(self.passages))
        corpus = [content_stems(f"{each.title}\n{each.text}") for each in read]
        if not any(corpus):
            raise UserError("The documents contain no word to search for; check artifacts/split/train.parquet.")
        self._frequency = Counter(term for found in corpus for term in set(found))
        self._bm25 = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        self._bm25.index(corpus, show_progress=False)

    def search(self, text: str, count: int) -> list[Passage]:
        """Return at most `count` passages that share a term with `text`, best first; equal scores in document order."""
        scores = self.scores(text)
        best = np.argsort(-scores, kind="stable")[:count]
        return [self.passages[place] for place in best if scores[place] > 0]

    def scores(self, text: str) -> NDArray[np.float32]:
        """Return the BM25 score of every passage for `text`: [passages]."""
        if not (wanted := content_stems(text)):
            return np.zeros(len(self.passages), np.float32)
        found: NDArray[np.float32] = self._bm25.get_scores(wanted)
        return found

    def idf(self, term: str) -> float:
        """Return the inverse document frequency of a term, over passages: above zero, highest for an unknown term."""
        count = self._frequency[term]
        return log(1 + (len(self.passages) - count + 0.5) / (count + 0.5))

    def share(self, wanted: Set[str], present: Set[str]) -> float:
        """Return the share of the terms `wanted` in `present`, weighted by their idf; 0 if nothing is wanted."""
        total = sum(map(self.idf, wanted))
        return sum(map(self.idf, wanted & present)) / total if wanted else 0.0
