"""The `teacher` block of params.yaml: models, their servers and prices, and their roles."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.block import Block, Count, LearningRate, NonNegative, Positive
from pipelines.models.tuning.config import TuningConfig


class FinetunedModel(Block):
    """The base model, fine-tuned on the seeds: small, and able only to ask about spans and to read them back."""

    kind: Literal["finetuned"]
    """Discriminator of the three kinds of model."""


class LocalModel(Block):
    """An instruction-tuned model in this process, used without fine-tuning."""

    kind: Literal["local"]
    """Discriminator of the three kinds of model."""
    model: str
    """`package:NAME`, `hf:ORG/NAME@REVISION`, or a path."""


class PriceBlock(Block):
    """A server's prices per million tokens."""

    prompt: NonNegative
    """Price of prompt tokens."""
    completion: NonNegative
    """Price of completion tokens."""

    def cost(self, prompt: float, completion: float) -> float:
        """Return the cost of the given numbers of tokens."""
        return (prompt * self.prompt + completion * self.completion) / 1e6


class ServedModel(Block):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["openai"]
    """Discriminator of the three kinds of model."""
    url: str
    """The server's address, such as http://127.0.0.1:8000/v1."""
    model: str
    """The server's name for the model."""
    revision: str | None
    """Revision of the model, where its name is ambiguous; changing it invalidates the cached answers."""
    key: str | None
    """The environment variable that holds the server's key; null for a server without one."""
    max_concurrency: Count
    """Maximum number of concurrent calls."""
    timeout_s: Positive
    """Timeout of a call, after which it is retried."""
    context_tokens: Count | None
    """Context window: prompt and answer together. Null leaves rejecting long prompts to the server."""
    structured: Literal["json_schema", "json_object", "none"]
    """How the server is asked for JSON output (`response_format`)."""
    price: PriceBlock | None
    """Prices for the cost and the budget; null for a free server."""
    extra_body: dict[str, Any]
    """Merged into the body of every request: {chat_template_kwargs: {enable_thinking: false}}, {max_tokens: 4096}. Null
    omits a field; {} merges nothing."""

    @field_validator("extra_body")
    @classmethod
    def _mergeable(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(value.keys() & {"model", "messages", "stream", "n"}):
            raise ValueError(f"{taken[0]} may not be set in extra_body; remove it")
        for name in ("max_tokens", "max_completion_tokens"):
            if name in value and (type(value[name]) is not int or value[name] < 1):
                raise ValueError(f"{name} in extra_body must be an integer of at least 1")
        return value


class RolesBlock(Block):
    """The model for each role."""

    writer: str | None
    """Writes questions, answers and tasks; null writes none, as for training on user data alone."""
    reader: str | None
    """Reads questions back: it must answer them from the passage. With null, no entity from the documents is swapped
    into an unanswerable question, since nothing could verify that the documents do not answer it."""
    judge: str | None
    """Decides whether the passage supports an answer; null skips this check."""


class TeacherConfig(Block):
    """The teacher models and their roles as writer, reader and judge."""

    models: dict[str, Annotated[FinetunedModel | LocalModel | ServedModel, Field(discriminator="kind")]]
    """Models by a user-chosen name."""
    roles: RolesBlock
    """The name in `models` for each role."""
    budget: Positive | None
    """Maximum cost of served calls in one run, in the currency of the prices; null is unlimited."""
    seeds: Path
    """Hand-written passages with answerable and unanswerable questions, on which the `finetuned` model is trained."""
    adapter: Path | None
    """A committed adapter, used instead of training if its inputs are unchanged; null always trains."""
    tuning: TuningConfig
    """Method of fine-tuning the `finetuned` model: one that adds an adapter."""
    learning_rate: LearningRate
    """Peak learning rate, after a linear warm-up."""
    epochs: Count
    """Number of epochs over the seeds."""
    batch_tokens: Count
    """Tokens per optimiser step."""

    @model_validator(mode="after")
    def _adapter(self) -> "TeacherConfig":
        self.tuning.check_new_adapter()
        if self.reads and not self.tuning.mergeable:
            raise ValueError(
                f"tuning.method is {self.tuning.method}, which cannot be merged, and the reader is registered with "
                "merged weights; set it to lora"
            )
        return self

    @model_validator(mode="after")
    def _whole(self) -> "TeacherConfig":
        for role, name in self.roles:
            if name is not None and name not in self.models:
                raise ValueError(f"roles.{role} names {name!r}, which models does not define")
        if self.roles.writer is not None and self.roles.reader is None:
            raise ValueError("roles.writer is set, but roles.reader, which checks its questions, is null; name one")
        unpriced = [name for name, model in self.models.items() if model.kind == "openai" and model.price is None]
        if self.budget is not None and unpriced:
            raise ValueError(f"budget is set, but models.{unpriced[0]} has no price; add one, or set budget to null")
        return self

    @property
    def reads(self) -> bool:
        """Whether the fine-tuned model is the reader."""
        return self.roles.reader is not None and self.models[self.roles.reader].kind == "finetuned"

    @property
    def judges(self) -> bool:
        """Whether there is a judge, which must follow instructions."""
        return self.roles.judge is not None and self.models[self.roles.judge].kind != "finetuned"

    @property
    def finetunes(self) -> bool:
        """Whether any role uses the fine-tuned model."""
        return any(name is not None and self.models[name].kind == "finetuned" for _, name in self.roles)
