"""Python functions of the user, named in parameters as `package.module:function`."""

import importlib
from collections.abc import Callable
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
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{parameter}: the module of {name!r} cannot be imported ({reason}).") from error
    if not callable(found):
        raise UserError(f"{parameter}: {name!r} names no function; use the form package.module:function.")
    loaded: Callable[..., Any] = found
    return loaded


def check(name: str, parameter: str) -> None:
    """Check that the function `name` exists, without importing the project's modules, which may be slow.

    Raises:
        UserError: a module of the project does not define it, or another cannot be imported or lacks it.
    """
    module, _, function = name.partition(":")
    parsed = Modules().module(module)
    if parsed is None:
        load(name, parameter)
    elif function not in parsed.bound and function not in parsed.aliases:
        raise UserError(f"{parameter}: {name!r} names no function; use the form package.module:function.")
