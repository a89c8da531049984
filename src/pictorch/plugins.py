"""What users bring themselves: functions named as package.module:function, and objects given in Python."""

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from pictorch.errors import RecipeError, nearest

GIVEN = "object"

_LONGEST_REASON = 110


def object_name(given: object) -> str:
    """Returns what stands in a recipe for an object that was given in Python: object:NAME."""
    names = (getattr(given, "__name__", ""), type(given).__name__, GIVEN)
    return next(f"{GIVEN}:{name}" for name in names if re.fullmatch(r"[A-Za-z_]\w*", name))


def load_function(field: str, name: str) -> Callable[..., Any]:
    """Returns the function behind package.module:function, which a field of the recipe names.

    The working folder is put on Python's path, for good, since a module may import others later.
    Raises RecipeError where there is no such function or its module raises.
    """
    module_name, _, function_name = name.partition(":")
    if module_name == GIVEN:
        call = "train(resume=run, loss=...)" if field == "loss.name" else "evaluate(run, model=...)"
        raise RecipeError(
            f"{field}: {name} was given in Python, and a run keeps no code; give it again there, "
            f"as in pictorch.{call}"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        remedy = "mend it there"
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            near = nearest(module_name, ("torchvision", "timm")) if field == "model.name" else ""
            remedy = f"give the command in the folder that holds it, or install it{near}"
        raise RecipeError(f"{field}: {name} cannot be imported ({in_short(error)}); {remedy}") from error
    function: Callable[..., Any] | None = getattr(module, function_name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if callable(value)]
        raise RecipeError(
            f"{field}: {module_name} has no function {function_name!r}{nearest(function_name, known)}; "
            "name one that it has"
        )
    return function


def in_short(error: BaseException) -> str:
    """Returns kind and text of somebody else's error on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
