"""Documents that are the same: by address, by text, or nearly by text."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipelines.data.documents import Document
from pipelines.data.near import jaccard, near_pairs, shingles
from pipelines.data.words import normalise

_TRACKING = frozenset({"fbclid", "gclid", "dclid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid"})


@dataclass(frozen=True)
class Member:
    """A duplicate: what made it one, and the Jaccard similarity of its shingles to the kept document's."""

    document: Document
    reason: str
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """Documents that are the same; `kept` stands for all."""

    kept: Document
    members: list[Member]


def clusters(documents: Sequence[Document], shingle: int, bands: int, rows: int, similarity: float) -> list[Cluster]:
    """Return every document's cluster, in the order of the kept documents; most are of one.

    Sameness carries over: if A is B and B is C, all are one cluster. The longest text is kept, and of equally
    long ones the first by path.
    """
    texts = [normalise(document.text) for document in documents]
    groups = Groups(len(documents))
    for same in (_same(map(address, documents)), _same(map(_digest, texts))):
        for first, second in same:
            groups.join(first, second)
    apart = list({text: index for index, text in enumerate(texts) if text}.values())
    for first, second in near_pairs([texts[index] for index in apart], shingle, bands, rows, similarity):
        groups.join(apart[first], apart[second])
    found = [_cluster([(documents[index], texts[index]) for index in group], shingle) for group in groups.all()]
    return sorted(found, key=lambda cluster: cluster.kept.source)


def address(document: Document) -> str | None:
    """Return a document's URL without scheme, www, fragment, tracking, last slash: they tell no pages apart.

    A site's front page is None: that is what careless canonical links of quite different pages name.
    """
    try:
        parts = urlsplit(document.url or "")
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


class Groups:
    """Union-find over 0 … n-1; the smallest member represents a group."""

    def __init__(self, size: int) -> None:
        """Begin with `size` groups of one."""
        self.parent = list(range(size))

    def find(self, index: int) -> int:
        """Return the representative of the group of `index`."""
        while self.parent[index] != index:
            self.parent[index] = self.parent[self.parent[index]]
            index = self.parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Make one group of two."""
        low, high = sorted((self.find(first), self.find(second)))
        self.parent[high] = low

    def all(self) -> list[list[int]]:
        """Return every group's members."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self.parent)):
            groups[self.find(index)].append(index)
        return list(groups.values())


def _same(keys: Iterable[Hashable | None]) -> list[tuple[int, int]]:
    """Pair every index with the first that has the same key; None is like nothing."""
    first: dict[Hashable, int] = {}
    return [(first.setdefault(key, index), index) for index, key in enumerate(keys) if key is not None]


def _digest(text: str) -> bytes | None:
    return hashlib.sha256(text.encode()).digest() if text else None


def _cluster(group: list[tuple[Document, str]], shingle: int) -> Cluster:
    """`group` holds each document with its normalised text."""
    if len(group) == 1:
        return Cluster(group[0][0], [])
    kept, *others = sorted(group, key=lambda each: (-len(each[0].text), each[0].source))
    same = shingles(kept[1], shingle)
    members = [_member(*each, *kept, jaccard(shingles(each[1], shingle), same)) for each in others]
    return Cluster(kept[0], sorted(members, key=lambda member: member.document.source))


def _member(document: Document, text: str, kept: Document, other: str, similarity: float) -> Member:
    if address(document) is not None and address(document) == address(kept):
        return Member(document, "url", similarity)
    return Member(document, "exact" if text == other else "near", similarity)
