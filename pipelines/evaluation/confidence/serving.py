"""Confidence in the answers of a served model, and abstention below its threshold."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import artifacts
from pipelines.evaluation import scoring
from pipelines.evaluation.confidence.calibration import Confidence
from pipelines.evaluation.confidence.reader import Reader
from pipelines.evaluation.confidence.signals import measure
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import passages
from pipelines.evaluation.retrieval.support import SENTENCES

if TYPE_CHECKING:
    from pipelines.inference.chat_model import ChatModel


class Abstention:
    """The calibrated confidence of one model, with the documents it was trained on."""

    def __init__(
        self, model: "ChatModel", confidence: Confidence, documents: Path, reader: Reader | None, refusal: str
    ) -> None:
        """Index `documents` (a Parquet file of split); `refusal` is the sentence that the model refuses with.

        Raises:
            UserError: the documents contain no word.
        """
        self._model, self._confidence, self._reader, self._refusal = model, confidence, reader, refusal
        self._index = Index(list(passages(artifacts.read_table(documents), SENTENCES)))

    def confidence(self, question: str, answer: str) -> float | None:
        """Return the probability that `answer` is correct; None for a refusal and without an estimator."""
        if self._confidence.estimator is None or scoring.is_refusal(answer, question, self._refusal):
            return None
        served = self._model.model, self._model.tok, self._index, self._reader
        values = measure(*served, [question], [answer], batch_size=1)
        return float(self._confidence.estimates(values)[0])

    def is_withheld(self, confidence: float | None) -> bool:
        """Return whether an answer with this confidence is below the threshold."""
        threshold = self._confidence.threshold
        return confidence is not None and threshold is not None and confidence < threshold
