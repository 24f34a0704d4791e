"""The body of a request for a chat completion, in the fields that the model takes.

Models differ in what they refuse: OpenAI's reasoning models take neither max_tokens nor a temperature, other servers no
seed. A field that a refusal names is left out of all later requests; max_tokens becomes max_completion_tokens.
"""

import re
from typing import Any

from pipelines.llm.calls import Call
from pipelines.llm.config import ServedModel

LIMITS = ("max_tokens", "max_completion_tokens")
_REFUSED = re.compile(
    r"unsupported|not support|n't support|unrecogni[sz]ed|unknown|not permitted|not allowed|unexpected|unavailable",
    re.IGNORECASE,
)
_OPTIONAL = ("max_tokens", "temperature", "seed", "response_format")


class Form:
    """The form of the requests to one model."""

    def __init__(self, config: ServedModel, seed: int) -> None:
        """Begin with every field."""
        self.config, self.seed = config, seed
        self.refused: set[str] = set()

    def body(self, call: Call) -> dict[str, Any]:
        """Return the body that asks for a call. `extra_body` wins; null in it leaves a field out."""
        limit = LIMITS[1] if "max_tokens" in self.refused or LIMITS[1] in self.config.extra_body else LIMITS[0]
        fields: dict[str, Any] = {
            "model": self.config.model,
            "messages": call.messages,
            "temperature": call.temperature or 0.0,
            "seed": self.seed + call.sample,
            "response_format": self._response_format(call),
        }
        fields = {name: value for name, value in fields.items() if name not in self.refused} | self.config.extra_body
        fields = {name: value for name, value in fields.items() if value is not None and name not in LIMITS}
        return {**fields, limit: self.room(call)}

    def room(self, call: Call) -> int:
        """Return how many tokens an answer may have, its chain of thought included."""
        given = [self.config.extra_body[name] for name in reversed(LIMITS) if name in self.config.extra_body]
        return int(given[0]) if given else call.max_tokens

    def learn(self, words: str) -> None:
        """Leave out, from now on, what a refusal names as a field that the model does not take."""
        if _REFUSED.search(words):
            self.refused |= {name for name in _OPTIONAL if re.search(rf"\b{name}\b", words)}

    def _response_format(self, call: Call) -> dict[str, Any] | None:
        if call.schema is None or self.config.structured == "none":
            return None
        if self.config.structured == "json_object":
            return {"type": "json_object"}
        schema = {"name": "answer", "schema": call.schema, "strict": True}
        return {"type": "json_schema", "json_schema": schema}
