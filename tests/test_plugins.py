"""Functions named as package.module:function, and what stands in a recipe for objects."""

import functools
import importlib.util
import sys
from pathlib import Path

import pytest
from torch import nn

from own_module import write_own_net
from pictorch.errors import RecipeError
from pictorch.networks.own import own_network
from pictorch.plugins import importing, in_short, load_function, object_name
from pictorch.recipe import LossSection


@pytest.fixture
def path_without_working_folder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The console script does not have that folder on its path."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(Path.cwd()))])
    return list(sys.path)


def test_a_module_of_the_working_folder_is_found(
    monkeypatch: pytest.MonkeyPatch, path_without_working_folder: list[str]
) -> None:
    write_own_net(monkeypatch, "from blocks_of_mine import Block\n")
    Path("blocks_of_mine.py").write_text("class Block: pass\n")
    assert load_function("model.name", "own_net_of_mine:Block").__module__ == "blocks_of_mine"
    assert sys.path == path_without_working_folder, "it is on the path meanwhile only"
    del sys.modules["blocks_of_mine"]


def test_what_a_function_imports_is_found_while_it_is_called(
    monkeypatch: pytest.MonkeyPatch, path_without_working_folder: list[str]
) -> None:
    write_own_net(monkeypatch, "def make(*sizes):\n    import inner_of_mine\n    return inner_of_mine.net\n")
    Path("inner_of_mine.py").write_text("from torch import nn\nnet = nn.Linear(1, 1)\n")
    assert isinstance(own_network("own_net_of_mine:make", None, 3, 8), nn.Linear)
    assert sys.path == path_without_working_folder
    del sys.modules["inner_of_mine"]


def test_what_lies_in_the_working_folder_stands_in_for_nothing(
    monkeypatch: pytest.MonkeyPatch, path_without_working_folder: list[str]
) -> None:
    """Such as an empty folder, which Python takes for a package, or a file named as one of Python's."""
    write_own_net(monkeypatch, "import colorsys\nhsv = colorsys.rgb_to_hsv\n")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    Path("colorsys.py").write_text("raise ImportError('of the working folder')\n")
    Path("z3").mkdir()
    assert load_function("model.name", "own_net_of_mine:hsv")(0, 0, 0) == (0, 0, 0)
    assert importlib.util.find_spec("z3") is None


def test_a_run_says_what_it_imports_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_own_net(monkeypatch)
    line = f"importing own_net_of_mine:make from {path}, which the run names"
    assert importing("own_net_of_mine:make") == line
    Path("package_of_yours").mkdir()
    for name in ("__init__", "nets"):
        Path(f"package_of_yours/{name}.py").write_text("raise SystemExit\n")
    assert f" from {Path.cwd()}/package_of_yours/nets.py, " in importing("package_of_yours.nets:make")
    assert importing("sys:exit") == "importing sys:exit, which the run names"
    assert importing("nothing.of.the:kind") == "importing nothing.of.the:kind, which the run names"
    assert sys.modules.keys().isdisjoint({"own_net_of_mine", "package_of_yours", "package_of_yours.nets"})


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
