"""Python functions of the user, named in parameters as `package.module:function`."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from pipelines.runtime.code_modules import Modules
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


def check(name: str, parameter: str) -> None:
    """Check that the function `name` exists, without importing its module, which may need a stage's libraries.

    Raises:
        UserError: its module is neither in the project nor installed, or the project's module does not define it.
    """
    module, _, function = name.partition(":")
    parsed = Modules().module(module)
    if parsed is None and find_spec(module.partition(".")[0]) is None:
        raise UserError(f"{parameter}: the module of {name!r} is neither in the project nor installed.")
    if parsed is not None and function not in parsed.bound and function not in parsed.aliases:
        raise UserError(f"{parameter}: {name!r} names no function; use the form package.module:function.")
