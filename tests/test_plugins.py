"""Functions named as package.module:function, and what stands in a recipe for objects."""

import functools
import sys
from pathlib import Path

import pytest
from torch import nn

from own_module import write_own_net
from pictorch.errors import RecipeError
from pictorch.plugins import in_short, load_function, object_name
from pictorch.recipe import LossSection


def test_a_module_of_the_working_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console script does not have that folder on its path."""
    path = write_own_net(monkeypatch)
    sys.path[:] = [entry for entry in sys.path if entry not in ("", str(Path.cwd()))]
    assert load_function("model.name", "own_net_of_mine:OwnNetOfMine").__name__ == "OwnNetOfMine"
    assert sys.path[0] == str(path.parent)
    load_function("model.name", "own_net_of_mine:OwnNetOfMine")
    assert sys.path.count(str(path.parent)) == 1


def test_a_module_of_a_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("package_of_mine").mkdir()
    write_own_net(
        monkeypatch, "def build(classes, size):\n    return classes, size\n", "package_of_mine/nets"
    )
    assert load_function("model.name", "package_of_mine.nets:build")(3, 8) == (3, 8)
    with pytest.raises(RecipeError, match=r"No module named 'package_of_mine.net'\); give the command in"):
        load_function("model.name", "package_of_mine.net:build")


def test_a_module_that_lacks_another_is_to_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch, "import nothing_of_the_kind\n")
    with pytest.raises(
        RecipeError, match=r"No module named 'nothing_of_the_kind'\); mend it there$"
    ) as caught:
        load_function("loss.name", "own_net_of_mine:loss")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError), "--debug shows where it arose"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (nn.Linear(1, 1), "object:Linear"),
        (nn.Linear, "object:Linear"),
        (load_function, "object:load_function"),
        (lambda classes, size: None, "object:function"),
        (functools.partial(print), "object:partial"),
        (type("Сеть", (), {}), "object:type"),
    ],
)
def test_objects_have_names_that_a_recipe_takes(given: object, name: str) -> None:
    assert object_name(given) == name
    LossSection(name=name)


def test_an_error_in_short_is_one_short_line() -> None:
    assert in_short(ValueError("two\nlines")) == "ValueError: two lines"
    assert len(in_short(ValueError("x" * 999))) < 120
