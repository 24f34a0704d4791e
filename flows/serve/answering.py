"""Answer with the confidence that `calibrate` registered with the model, and abstain below its threshold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.config import Config
from pipelines.models.messages import Message
from pipelines.runtime.progress import say

if TYPE_CHECKING:
    from flows.serve.locations import ModelLocation
    from pipelines.evaluation.confidence.serving import Abstention
    from pipelines.inference.chat_model import ChatModel


@dataclass(frozen=True)
class Answer:
    """An answer, and what is known about it."""

    text: str
    note: str
    """Its confidence, or that a less certain answer was withheld; empty if nothing is known."""


class Answerer:
    """A model with its calibrated confidence, if it has one."""

    def __init__(self, model: "ChatModel", location: "ModelLocation", settings: Config) -> None:
        """Read the confidence that belongs to the model at `location`, and index its documents."""
        self.model, self._refusal = model, settings.curate.refusal
        self._abstention = _abstention(model, location, settings)

    def answer(self, messages: list[Message], guess: bool = False) -> Answer:
        """Answer a conversation; below the threshold with the refusal, unless `guess` is set.

        Confidence is calibrated on single questions. A follow-up question has none, because its meaning depends on the
        conversation.
        """
        text = self.model.answer(messages)
        if self._abstention is None or sum(each["role"] == "user" for each in messages) > 1:
            return Answer(text, "")
        confidence = self._abstention.confidence(messages[-1]["content"], text)
        if confidence is None:
            return Answer(text, "")
        if self._abstention.is_withheld(confidence) and not guess:
            note = (
                f"An answer with confidence {confidence:.2f} was withheld; `gradus ask --guess` shows it. "
                "So are most answers to questions that are not about the documents."
            )
            return Answer(self._refusal, note)
        return Answer(text, f"Confidence {confidence:.2f}.")


def _abstention(model: "ChatModel", location: "ModelLocation", settings: Config) -> "Abstention | None":
    stored, documents, folder = location.confidence, location.documents, location.reader
    if stored is None or documents is None or not documents.exists():
        return None
    from pipelines.evaluation.confidence.calibration import Confidence
    from pipelines.evaluation.confidence.reader import Reader
    from pipelines.evaluation.confidence.serving import Abstention

    confidence = Confidence.of(stored)
    if not confidence.is_known:
        say(
            "The confidence was calibrated by an earlier version of Gradus, so no answer is withheld; "
            "`gradus run` calibrates again."
        )
        return None
    if not confidence.reads:
        return Abstention(model, confidence, documents, None, settings.curate.refusal)
    if folder is None or not folder.is_dir():
        return None
    return Abstention(model, confidence, documents, Reader.load(folder, settings.compute), settings.curate.refusal)
