"""The block `teacher` of params.yaml: models, their servers and prices, and their roles."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.block import Block, Count, LearningRate, NonNegative, Positive
from pipelines.models.config import LoraConfig


class FinetunedModel(Block):
    """The base model, schooled on the seeds: small, and only for asking about spans and reading them back."""

    kind: Literal["finetuned"]
    """Which of the three it is."""


class LocalModel(Block):
    """A model that follows instructions, as it is."""

    kind: Literal["local"]
    """Which of the three it is."""
    model: str
    """`package:NAME`, `hf:ORG/NAME@REVISION`, or a path."""


class PriceBlock(Block):
    """What a server takes for a million tokens."""

    prompt: NonNegative
    """Of what it is asked."""
    completion: NonNegative
    """Of what it answers."""

    def cost(self, prompt: float, completion: float) -> float:
        """Return the cost of so many tokens."""
        return (prompt * self.prompt + completion * self.completion) / 1e6


class ServedModel(Block):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["openai"]
    """Which of the three it is."""
    url: str
    """The server's address, such as http://127.0.0.1:8000/v1."""
    model: str
    """The server's name for the model."""
    revision: str | None
    """Of the model, where the name alone does not tell; another one is asked everything anew."""
    key: str | None
    """The environment variable that holds the server's key; null for a server without one."""
    max_concurrency: Count
    """Calls under way at once."""
    timeout_s: Positive
    """A call that takes longer is tried again."""
    context_tokens: Count | None
    """How much prompt and answer it can take together; null leaves it to the server to refuse."""
    structured: Literal["json_schema", "json_object", "none"]
    """How the server can be made to answer in JSON."""
    price: PriceBlock | None
    """For the cost and the budget; null where there is none."""
    extra_body: dict[str, Any]
    """Merged into the body of every request: {chat_template_kwargs: {enable_thinking: false}}, {max_tokens: 4096}. Null
    leaves a field out; {} merges nothing."""

    @field_validator("extra_body")
    @classmethod
    def _mergeable(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(value.keys() & {"model", "messages", "stream", "n"}):
            raise ValueError(f"{taken[0]} is not for extra_body to change")
        for name in ("max_tokens", "max_completion_tokens"):
            if name in value and (type(value[name]) is not int or value[name] < 1):
                raise ValueError(f"{name} is a count of tokens, at least 1")
        return value


class RolesBlock(Block):
    """Who of the models does what."""

    writer: str | None
    """Writes questions, answers and tasks; null has none written, as for training on one's own conversations alone."""
    reader: str | None
    """Reads questions back: must answer them from the passage. Without one, no name of the documents is put into an
    unanswerable question, since nobody could say that they do not answer it."""
    judge: str | None
    """Says whether the passage supports an answer; null leaves that out."""


class TeacherConfig(Block):
    """Who writes the questions, who reads them, who judges."""

    models: dict[str, Annotated[FinetunedModel | LocalModel | ServedModel, Field(discriminator="kind")]]
    """By a name of one's own."""
    roles: RolesBlock
    """Names of `models`."""
    budget: Positive | None
    """What one run may spend on served calls, in the currency of the prices; null is without limit."""
    seeds: Path
    """Hand-written passages with questions and answers, and questions without, that school the schooled model."""
    adapter: Path | None
    """A committed adapter, used instead of training when it was trained from the same inputs; null always trains."""
    lora: LoraConfig
    """The teacher's adapter."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the seeds."""
    batch_tokens: Count
    """Tokens in one optimiser step."""

    @model_validator(mode="after")
    def _whole(self) -> "TeacherConfig":
        for role, name in self.roles:
            if name is not None and name not in self.models:
                raise ValueError(f"roles.{role} names {name!r}, which is not among models")
        if self.roles.writer is not None and self.roles.reader is None:
            raise ValueError("roles.writer writes questions, and roles.reader is null, so that nobody checks them")
        unpriced = [name for name, model in self.models.items() if model.kind == "openai" and model.price is None]
        if self.budget is not None and unpriced:
            raise ValueError(f"there is a budget, but models.{unpriced[0]} has no price to hold it against")
        return self

    @property
    def finetunes(self) -> bool:
        """Whether any role is the schooled model's."""
        return any(name is not None and self.models[name].kind == "finetuned" for _, name in self.roles)
