"""Base class of the blocks of params.yaml, and the types of their values."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Name of an instance of a stage, which becomes part of paths, commands and metric names."""
FUNCTION = r"^\w+(\.\w+)*:\w+$"
"""A function of the user, `package.module:function`."""


class Block(BaseModel):
    """A block of params.yaml: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return the block with other `values`; those of a nested block may be incomplete.

        Raises:
            pydantic.ValidationError: a key is unknown, or a value is out of range.
        """
        all_values = dict(self)
        for name, value in values.items():
            inner = all_values.get(name)
            if isinstance(inner, Block) and isinstance(value, Mapping):
                value = inner.changed(value)
            all_values[name] = value
        return type(self).model_validate(all_values)
