"""Python functions of the user, named in parameters as `package.module:function`."""

import importlib
from collections.abc import Callable
from typing import Any

from pipelines.runtime.errors import UserError


def load(name: str, parameter: str) -> Callable[..., Any]:
    """Import the function `name`, the value of `parameter`.

    Raises:
        UserError: it cannot be imported, or is no function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise UserError(f"{parameter}: the module of {name!r} cannot be imported ({error}).") from error
    if not callable(found):
        raise UserError(f"{parameter}: {name!r} names no function; use the form package.module:function.")
    loaded: Callable[..., Any] = found
    return loaded
