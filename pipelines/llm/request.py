"""The body of a chat completion request, limited to the fields that the model supports.

Support differs: OpenAI's reasoning models accept neither max_tokens nor a temperature, and other servers no seed. A
field that an error names is omitted from all later requests; max_tokens becomes max_completion_tokens.
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


class RequestBuilder:
    """Builds the requests to one model."""

    def __init__(self, config: ServedModel, seed: int) -> None:
        """Start with every field."""
        self.config, self.seed = config, seed
        self.refused: set[str] = set()

    def body(self, call: Call) -> dict[str, Any]:
        """Return the request body for a call. `extra_body` takes precedence; a null in it omits a field."""
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
        return {**fields, limit: self.max_tokens(call)}

    def max_tokens(self, call: Call) -> int:
        """Return the maximum number of tokens of an answer, including its chain of thought."""
        given = [self.config.extra_body[name] for name in reversed(LIMITS) if name in self.config.extra_body]
        return int(given[0]) if given else call.max_tokens

    def drop_refused(self, message: str) -> None:
        """Omit, from now on, the fields that an error message names as unsupported."""
        if _REFUSED.search(message):
            self.refused |= {name for name in _OPTIONAL if re.search(rf"\b{name}\b", message)}

    def _response_format(self, call: Call) -> dict[str, Any] | None:
        if call.schema is None or self.config.structured == "none":
            return None
        if self.config.structured == "json_object":
            return {"type": "json_object"}
        schema = {"name": "answer", "schema": call.schema, "strict": True}
        return {"type": "json_schema", "json_schema": schema}
