"""A teacher in this process: batched or continuous decoding, with token probabilities."""

from collections.abc import Iterator, Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.continuous import respond_continuously
from pipelines.inference.generation import respond_to
from pipelines.llm.calls import Answer, Call, Failure, Keep, Reply
from pipelines.models.chat import encode_prompt
from pipelines.models.templates.stops import stop_ids
from pipelines.models.templates.thinking import answer_of
from pipelines.runtime.progress import Meter


class LocalTeacher:
    """A model in this process. Batches of similar length are planned over all calls, so that a crash changes none.

    With `continuous` batching (`pipelines/inference/continuous.py`) it is faster on a GPU, but not reproducible.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tok: PreTrainedTokenizerBase,
        batch_size: int,
        seed: int,
        *,
        instructed: bool,
        continuous: bool,
    ) -> None:
        """Use a loaded model."""
        self.model, self.tok, self.batch_size, self.seed = model, tok, batch_size, seed
        self.instructed, self.continuous = instructed, continuous
        self.batch_dependent = not continuous
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = longest if isinstance(longest, int) else None

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the batches that contain a wanted call; calls in a batch share `max_tokens` and temperature."""
        meter = Meter(what, len(wanted))
        try:
            for limit, temperature in sorted(
                {(call.max_tokens, call.temperature) for call in calls}, key=lambda kind: (kind[0], kind[1] or 0.0)
            ):
                places = [
                    at for at, call in enumerate(calls) if (call.max_tokens, call.temperature) == (limit, temperature)
                ]
                self._answer_group(calls, places, wanted, meter, keep)
        finally:
            meter.close()

    def count_cached(self, what: str, count: int) -> None:
        """Ignore the count: a local model does not stop at failures."""

    def read(self, raw: str) -> Reply:
        """Return a raw answer without its chain of thought."""
        text = answer_of(raw)
        return Reply(text) if text else Reply(None, "empty_answer")

    def _answer_group(
        self, calls: Sequence[Call], places: list[int], wanted: Mapping[int, str], meter: Meter, keep: Keep
    ) -> None:
        """Answer the calls at `places`, which share `max_tokens` and temperature."""
        fitting: list[int] = []
        encoded: list[list[int]] = []
        for place in places:
            ids = encode_prompt(self.tok, calls[place].messages)
            if self.context is not None and len(ids) + calls[place].max_tokens > self.context:
                if place in wanted:
                    keep(place, Failure("too_long_for_context"))
                continue
            fitting.append(place)
            encoded.append(ids)
        due = [at for at, place in enumerate(fitting) if place in wanted]
        for at, tokens, certainty in self._respond(encoded, due, calls[places[0]]) if due else ():
            text = self.tok.decode(tokens, skip_special_tokens=True)
            if fitting[at] in wanted:
                keep(fitting[at], Answer(text, len(encoded[at]), len(tokens), certainty=certainty))
                meter.step()

    def _respond(
        self, encoded: list[list[int]], due: list[int], call: Call
    ) -> Iterator[tuple[int, list[int], float | None]]:
        """Yield the position, tokens and minimum token probability of the answers to the prompts in `due`, or more."""
        limit, temperature = call.max_tokens, call.temperature
        if not self.continuous:
            yield from respond_to(
                self.model, self.tok, encoded, set(due), limit, temperature, self.batch_size, self.seed
            )
            return
        prompts, stops = [encoded[at] for at in due], stop_ids(self.model, self.tok)
        answers = respond_continuously(self.model, prompts, stops, limit, temperature, self.seed)
        yield from ((due[at], tokens, certainty) for at, tokens, certainty in answers)
