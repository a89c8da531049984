"""What users bring themselves: functions named as package.module:function, and objects given in Python."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from typing import Any

from pictorch.errors import RecipeError, nearest

GIVEN = "object"

_LONGEST_REASON = 110


def object_name(given: object) -> str:
    """Returns what stands in a recipe for an object that was given in Python: object:NAME."""
    names = (getattr(given, "__name__", ""), type(given).__name__, GIVEN)
    return next(f"{GIVEN}:{name}" for name in names if re.fullmatch(r"[A-Za-z_]\w*", name))


@contextmanager
def working_folder_on_path() -> Iterator[None]:
    """Lets the working folder be imported from, behind all else, and only meanwhile.

    What lies there by chance thus never stands in for a module of Python or of an installed package.
    """
    folder = os.getcwd()
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def importing(name: str) -> str:
    """Returns the line that says which code a run is about to bring in, found without importing it."""
    module_name = name.partition(":")[0]
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if file is None:
        file = _file_of(module_name)
    return f"importing {name}{f' from {file}' if file else ''}, which the run names"


def _file_of(module_name: str) -> str | None:
    importlib.invalidate_caches()
    parts, folders, file = module_name.split("."), None, None
    with working_folder_on_path():
        for number in range(1, len(parts) + 1):
            spec = PathFinder.find_spec(".".join(parts[:number]), folders)
            if spec is None:
                return None
            file, folders = spec.origin, spec.submodule_search_locations
    return file


def load_function(field: str, name: str) -> Callable[..., Any]:
    """Returns the function behind package.module:function, which a field of the recipe names.

    Raises RecipeError where there is no such function or its module raises.
    """
    module_name, _, function_name = name.partition(":")
    if module_name == GIVEN:
        calls = "loss= of pictorch.train"
        if field == "model.name":
            calls = "model= of pictorch.train, pictorch.evaluate or pictorch.export"
        raise RecipeError(
            f"{field}: {name} was given in Python, and a run keeps no code; give it again there, as {calls}"
        )
    importlib.invalidate_caches()
    try:
        with working_folder_on_path():
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
            f"{field}: {getattr(module, '__file__', None) or module_name} has no function {function_name!r}"
            f"{nearest(function_name, known)}; name one that it has"
        )
    return function


def in_short(error: BaseException) -> str:
    """Returns kind and text of somebody else's error on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
