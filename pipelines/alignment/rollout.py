"""Rollouts: responses sampled from the current policy, as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.alignment.backbone import POLICY, Backbone, using
from pipelines.alignment.sequences import Turn
from pipelines.inference.generation import respond
from pipelines.models.devices import autocast
from pipelines.models.tuning.apply import without_input_casts


@dataclass(frozen=True)
class Sampler:
    """Samples one response per prompt from the full distribution at `temperature`."""

    backbone: Backbone
    stops: list[int]
    max_new_tokens: int
    temperature: float
    batch_size: int

    def generate(self, prompts: Sequence[list[int]]) -> list[Turn]:
        """Return a turn for every prompt, in order; a response ends after its first stop token, if it has one."""
        model, precision = self.backbone.model, autocast(self.backbone.compute, self.backbone.device)
        with using(model, POLICY), precision, without_input_casts(model):
            responses = dict(
                respond(
                    model.get_base_model(),
                    self.backbone.tok,
                    prompts,
                    self.stops,
                    self.max_new_tokens,
                    self.temperature,
                    self.batch_size,
                )
            )
        return [(prompt, responses[index]) for index, prompt in enumerate(prompts)]
