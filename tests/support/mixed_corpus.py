"""Generate mixed documents: pages, wrapped text, lists, Chinese, near-duplicates, boilerplate and junk."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipelines.data.documents import Document

RAW = Path(__file__).parents[2] / "data/raw"
FOOTERS = (
    "Copyright the Harbour Office. All rights reserved.",
    "Home | Search | Contact",
    "Share this page with a friend.",
)
COPIES = 0.1
RECENT = 2_000  # size of the pool of originals for copies


class Writer:
    """Samples words by their frequency in the sample corpus, and Chinese characters by Zipf's law."""

    def __init__(self, seed: int) -> None:
        """Initialize the seeded generator and the frequencies."""
        self.rng = np.random.default_rng(seed)
        text = " ".join(path.read_text(encoding="utf-8") for path in sorted(RAW.rglob("*.md")))
        counts = Counter(word for word in text.lower().split() if word.isalpha())
        self.words = np.array(list(counts))
        self.frequencies = np.array(list(counts.values())) / counts.total()
        self.characters = np.array([chr(code) for code in range(0x4E00, 0x4E00 + 3000)])
        weights = 1 / np.arange(10, 3010)
        self.weights = weights / weights.sum()

    def page(self) -> tuple[str, str]:
        """Return a page with one paragraph per line."""
        return "html", "\n\n".join(self.paragraphs())

    def wrapped(self) -> tuple[str, str]:
        """Return a hard-wrapped text."""
        return "text", "\n\n".join(textwrap.fill(each, 76) for each in self.paragraphs())

    def listing(self) -> tuple[str, str]:
        """Return Markdown with a heading, bullets and a table."""
        first, second, third = self.paragraphs()[:3]
        bullets = "\n".join(f"- {each}" for each in second.split(". "))
        rows = "\n".join(f"| {word} | {number} |" for number, word in enumerate(third.split()[:20]))
        return "markdown", f"# {first[:40]}\n\n{first}\n\n{bullets}\n\n| Name | Number |\n| --- | --- |\n{rows}"

    def chinese(self) -> tuple[str, str]:
        """Return Chinese sentences."""
        drawn = self.rng.choice(self.characters, size=700, p=self.weights)
        return "html", "\n\n".join(
            "。".join("".join(each) for each in np.split(part, 7)) + "。" for part in np.split(drawn, 5)
        )

    def noise(self) -> tuple[str, str]:
        """Return keyboard noise."""
        letters = self.rng.choice(list("qwertyuiopzxcvbnm"), size=(300, 6))
        return "text", " ".join("".join(word) for word in letters)

    def paragraphs(self) -> list[str]:
        """Return four paragraphs of sentences, about 2 kB."""
        sizes = self.rng.integers(6, 18, size=int(self.rng.integers(26, 44)))
        drawn = iter(self.rng.choice(self.words, size=int(sizes.sum()), p=self.frequencies).tolist())
        sentences = [" ".join(next(drawn) for _ in range(size)).capitalize() + "." for size in sizes]
        return [" ".join(sentences[at::4]) for at in range(4)]

    def altered(self, text: str) -> str:
        """Return the text with a few words replaced."""
        words = text.split(" ")
        for place in self.rng.integers(len(words), size=4):
            words[place] = str(self.rng.choice(self.words))
        return " ".join(words)


def corpus(count: int, seed: int = 0) -> Iterator[Document]:
    """Yield `count` documents in the output format of `ingest`."""
    writer = Writer(seed)
    rng = writer.rng
    kinds: list[Callable[[], tuple[str, str]]] = [
        writer.page,
        writer.wrapped,
        writer.listing,
        writer.chinese,
        writer.noise,
    ]
    recent: list[tuple[str, str]] = []
    for number in range(count):
        if recent and rng.random() < COPIES:
            kind, text = recent[int(rng.integers(len(recent)))]
            text = writer.altered(text)
        else:
            kind, text = kinds[int(rng.choice(len(kinds), p=[0.5, 0.25, 0.14, 0.1, 0.01]))]()
            if len(recent) < RECENT:
                recent.append((kind, text))
            else:
                recent[int(rng.integers(RECENT))] = (kind, text)
        if rng.random() < 0.3:
            text = f"{text}\n\n{FOOTERS[int(rng.integers(len(FOOTERS)))]}"
        if rng.random() < 0.05:
            text = f"{text}\n\nWrite to keeper{number}@harbour.example or call 01632 960{number % 1000:03}."
        name = f"{number:08}"
        yield Document(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}", name, None, name, kind, text)
