"""Which convolutions a training takes: the rule, from measurements that are given, and what is kept of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictorch.benchmarking.profiling import profile
from pictorch.datasets.splits import ImageSet
from pictorch.durable import file_sha256
from pictorch.errors import RecipeError, ResourceError
from pictorch.images import InputSpec
from pictorch.kernels import building, operator
from pictorch.kernels.building import Unavailable, find_compiler
from pictorch.kernels.layers import OwnConvolutions, Shape
from pictorch.kernels.library import Kernels, open_kernels
from pictorch.networks import build_network
from pictorch.recipe import Recipe
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training import convolution_times, convolutions, start
from pictorch.training.convolutions import recorded_convolutions, resolve_convolutions
from pictorch.training.runtime import Runtime, resolve_runtime
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import QUIET, stopped_copy

LONG = 10**9  # multiply-adds of an image, which make any training long


def given(**fields: Any) -> Recipe:
    settings = {"epochs": 10, "threads": 1, "device": "cpu", "precision": "float32", **fields}
    sections = {"data": {"source": "digits"}, "model": {"name": "cifar10_cnn"}, "optimizer": {"lr": 0.1}}
    return load_recipe({**sections, "train": settings})


@pytest.fixture(autouse=True)
def no_kernels_in_use() -> Iterator[None]:
    operator.use(None)
    yield
    operator.use(None)


@pytest.fixture
def measured(place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Kernels that can be had, and what their measurements will say; `asked` lists what was measured.

    `others` is how many CPUs other programs take, `built` whether the kernels are there already.
    """
    found: dict[str, Any] = {"layers": lambda shape: (1.0, 2.0), "steps": {}, "asked": [], "others": 0.0}
    found["built"] = False

    def time_layer(shape: Shape, dtype: torch.dtype | None) -> dict[str, float]:
        found["asked"].append(shape)
        return dict(zip(("own", "library"), found["layers"](shape), strict=True))

    def time_steps(network: Any, images: Any, forms: dict[str, Any], dtype: Any) -> dict[str, float]:
        found["asked"].append({form: list(names) for form, names in forms.items()})
        return {form: found["steps"].get(form, 1.0) for form in forms}

    monkeypatch.setattr(convolution_times, "time_layer", time_layer)
    monkeypatch.setattr(convolution_times, "time_steps", time_steps)

    def open_kernels(
        *, may_build: bool, wanted: str | None, before_building: Callable[[], None]
    ) -> Kernels | Unavailable:
        if not found["built"]:
            if not may_build:
                return Unavailable("they are not built yet")
            before_building()
        return Kernels(place / "abc" / "winograd.so", "avx2", 0, None, wanted or "0123abcd")

    class Crowd:
        def __init__(self, threads: int) -> None:
            pass

        def taken_cpus(self) -> float:
            return float(found["others"])

    monkeypatch.setattr(convolution_times, "Crowd", Crowd)
    monkeypatch.setattr(convolutions, "open_kernels", open_kernels)
    return found


def resolved(
    recipe: Recipe, lines: list[str] | None = None, multiply_adds: int = LONG, side: int = 8
) -> Runtime:
    network = build_network(recipe.model, 10, InputSpec(side, side))
    images = ImageSet(np.zeros((2000, 8, 8, 3), np.uint8), np.zeros(2000, np.int64), np.arange(2000))
    say = [].append if lines is None else lines.append
    runtime = resolve_runtime(recipe.train)
    return resolve_convolutions(runtime, recipe, images, network, multiply_adds, say)


def test_a_short_training_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "open_kernels", None)
    for recipe, multiply_adds in (
        (given(), 10**6),
        (given(kernels="library"), LONG),
        (given(precision="float64"), LONG),
        (given(precision="fp16"), LONG),
    ):
        runtime = resolved(recipe, multiply_adds=multiply_adds)
        assert runtime.choices["train.kernels"].value == "library"
        assert runtime.convolutions.layers == ()


def test_only_what_is_still_to_be_done_has_to_be_earned_back(measured: dict[str, Any]) -> None:
    """Building counts 12 seconds, measuring 13, looking 1; each training saves a little more or less."""
    measured["steps"] = {"own": 0.5}
    too_short = "auto: the training is too short to earn back "
    for saved, built, expected in (
        (24.9, False, "building and measuring own kernels"),
        (12.9, True, "measuring own kernels"),
        (13.1, True, None),  # and now it is measured, for another number of threads too
        (1.1, True, None),
        (0.9, True, "looking for own kernels"),
        (24.9, False, "building and measuring own kernels"),
        (25.1, False, None),
    ):
        measured["built"], lines = built, list[str]()
        operator.use(None)
        runtime = resolved(given(), lines, multiply_adds=int(saved * 2.5e6))
        choice = runtime.choices["train.kernels"]
        if expected is None:
            assert (choice.value, len(runtime.convolutions.layers)) == ("own", 4), saved
        else:
            assert (choice.value, choice.reason, lines) == ("library", too_short + expected, []), saved
    bf16 = given(precision="bf16")
    assert resolved(bf16, multiply_adds=int(13.1 * 2.5e6)).choices["train.kernels"].value == "library"


def test_a_short_training_measures_nothing_again(measured: dict[str, Any]) -> None:
    measured["steps"], measured["others"] = {"own": 0.5}, 1.5
    resolved(given(), multiply_adds=10**8)
    measured["others"], measured["built"], measured["asked"][:] = 0.0, True, []
    assert resolved(given(), multiply_adds=10**7).choices["train.kernels"].value == "own"
    assert measured["asked"] == []
    resolved(given(), multiply_adds=10**8)
    assert measured["asked"] != []


def test_memory_that_runs_out_while_it_is_measured_is_told(
    measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_layer(shape: Shape, dtype: torch.dtype | None) -> dict[str, float]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(convolution_times, "time_layer", time_layer)
    with pytest.raises(ResourceError, match=r"out of memory on cpu with train\.batch_size 128 in 1 part .*"):
        resolved(given())


def test_own_kernels_for_a_network_without_such_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built for nothing, and it is said."""
    monkeypatch.setattr(convolutions, "open_kernels", None)
    lines: list[str] = []
    recipe = load_recipe(
        {
            "data": {"source": "digits"},
            "model": {"name": "lenet"},
            "optimizer": {"lr": 0.1},
            "train": {"epochs": 1, "kernels": "own", "precision": "float32", "device": "cpu"},
        }
    )
    runtime = resolved(recipe, lines, side=32)
    assert runtime.convolutions.layers == ()
    assert lines == ["kernels torch's own, since the network has no 3x3 convolution that own kernels compute"]


def test_the_faster_form_of_each_layer_then_of_the_whole(measured: dict[str, Any], place: Path) -> None:
    measured["layers"] = lambda shape: (2.0, 1.0) if shape.is_first else (1.0, 2.0)
    for steps, expected in (
        ({"own where faster": 0.5, "own": 0.6}, 3),
        ({"own where faster": 0.6, "own": 0.5}, 4),
        ({"own where faster": 0.98, "own": 0.975}, 0),
        ({"own where faster": 1.5, "own": 1.2}, 0),
    ):
        measured["steps"], measured["asked"][:] = steps, []
        runtime = resolved(given())
        (place / "abc" / "measurements.json").unlink()
        forms = measured["asked"][-1]
        assert [len(names) for names in forms.values()] == [0, 3, 4]
        assert len(runtime.convolutions.layers) == expected
        choice = runtime.choices["train.kernels"]
        assert choice.value == ("own" if expected else "library")
        assert "own where faster" in choice.measured
    assert runtime.convolutions.to_json() is None


def test_it_is_measured_once(measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    measured["steps"] = {"own": 0.5}
    lines: list[str] = []
    first = resolved(given(), lines)
    kinds = len(measured["asked"]) - 1
    assert lines == ["building the convolution kernels, once on this machine (less than a minute) ...",
                     f"measuring {kinds} kinds of convolution, once on this machine ..."]  # fmt: skip
    operator.use(None)
    measured["asked"].clear()
    lines.clear()
    assert resolved(given()).convolutions == first.convolutions
    assert first.choices["train.kernels"].reason == (
        "auto: 4 of 4 3x3 convolutions, 2.00 times the speed of torch's convolutions"
    )
    assert measured["asked"] == []
    resolved(given(threads=2))
    assert len(measured["asked"]) == kinds + 1


def test_times_of_a_busy_machine_are_taken_again_when_it_is_idle(measured: dict[str, Any]) -> None:
    again = "what was measured of convolutions while other programs were busy is measured again"
    for others, counts, told in (
        (1.5, True, False),
        (1.5, False, False),
        (0.0, True, True),
        (0.0, False, False),
    ):
        measured["others"], measured["asked"][:] = others, []
        lines: list[str] = []
        resolved(given(), lines)
        assert bool(measured["asked"]) is counts
        assert (again in lines) is told


def test_a_cache_that_cannot_be_written_is_told(measured: dict[str, Any], place: Path) -> None:
    (place / "abc").write_text("a file where the folder should be")
    lines: list[str] = []
    resolved(given(), lines)
    assert lines[-1].startswith(
        f"every long training will measure the convolutions again, since cannot write {place}"
    )


def test_a_resume_asks_for_the_build_that_the_run_began_with(measured: dict[str, Any]) -> None:
    runtime = resolved(given(kernels="own"))
    assert runtime.convolutions.build == "0123abcd"
    began_with = OwnConvolutions(("a.layer",), "avx2", "4567cdef")
    again = recorded_convolutions(runtime, {"convolutions": began_with.to_json()}, print)
    assert again.convolutions == began_with
    assert operator.in_use() is not None, "the others' place is taken by those of the run"
    assert operator.in_use().build == "4567cdef"


def test_without_a_compiler_it_is_the_library(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "nothing-there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    lines: list[str] = []
    choice = resolved(given(), lines).choices["train.kernels"]
    assert (choice.value, choice.reason) == (
        "library",
        "auto: own kernels cannot be had, CXX=nothing-there is no C++ compiler that runs",
    )
    assert lines == [
        "kernels torch's own, since pictorch's cannot be had: CXX=nothing-there is no C++ compiler that runs"
    ]
    with pytest.raises(RecipeError, match=r"not available here, CXX=.*`--set train.kernels=library`"):
        resolved(given(kernels="own"))


def test_an_older_run_has_the_library(measured: dict[str, Any]) -> None:
    runtime = recorded_convolutions(resolve_runtime(given().train), {"auto": {}}, print)
    assert runtime.choices["train.kernels"].value == "library"
    assert runtime.convolutions.layers == ()
    undecided = resolve_runtime(given().train).choices["train.kernels"]
    assert undecided.value == "own where faster"
    environment = {"auto": {"train.kernels": undecided.to_json()}, "convolutions": None}
    choice = recorded_convolutions(resolve_runtime(given().train), environment, print).choices[
        "train.kernels"
    ]
    assert (choice.value, choice.reason) == ("library", "as the run began")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The kernels of this machine; skips without a compiler. What is returned makes it one without."""
    if isinstance(found := find_compiler(), Unavailable):
        pytest.skip(f"no kernels: {found.reason}")
    assert isinstance(open_kernels(may_build=True), Kernels)

    def take_away() -> None:
        operator.use(None)
        monkeypatch.setenv("CXX", "nothing-there")
        monkeypatch.setenv("XDG_CACHE_HOME", "another")

    return take_away


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "threads"), [("float32", 1), ("bf16", 2)])
def test_stopped_and_resumed_with_own_kernels(
    real: Callable[[], None],
    lean_recipe: dict[str, Any],
    tmp_path: Path,
    precision: str,
    threads: int,
) -> None:
    lean_recipe["train"] |= {"epochs": 1, "kernels": "own", "precision": precision, "threads": threads}
    for out in ("whole", "again"):
        train(lean_recipe, out=out, console=QUIET)
    assert differing(tmp_path / "whole", tmp_path / "again") == []
    run = stopped_copy(lean_recipe, tmp_path / "stopped", 13)
    operator.use(None)  # as in another process
    train(resume=run, console=QUIET)
    assert differing(tmp_path / "whole", run) == []
    record = RunFolder(run).environment()["convolutions"]
    assert len(record["layers"]) == 4

    lean_recipe["train"]["kernels"] = "library"
    train(lean_recipe, out="library", console=QUIET)
    assert differing(tmp_path / "library", run)
    assert RunFolder(tmp_path / "library").environment()["convolutions"] is None


@pytest.mark.slow
def test_a_resume_without_the_kernels_says_so(
    real: Callable[[], None],
    lean_recipe: dict[str, Any],
    tmp_path: Path,
    cache_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lean_recipe["train"] |= {"epochs": 1, "kernels": "own", "precision": "float32"}
    run = stopped_copy(lean_recipe, tmp_path / "stopped", 13)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "fit", lambda *arguments, **options: None)  # killed before it saves anything
        real()
        train(resume=run)
    said = capsys.readouterr().err
    assert "will not be bit-exact: convolutions: own for 4 layers (" in said
    assert "-> torch's" in said
    environment = RunFolder(run).environment()
    assert environment["convolutions"] is None
    assert environment["auto"]["train.kernels"]["reason"].startswith(
        "the run's own kernels cannot be had, CXX="
    )
    with pytest.MonkeyPatch.context() as patch:  # back on the first machine, the checkpoint's word counts
        patch.delenv("CXX")
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        train(resume=run)
    said = capsys.readouterr().err
    assert "bit-exact" not in said
    assert "kernels own for 4 layers (" in said
    assert RunFolder(run).environment()["convolutions"]["layers"]


@pytest.mark.slow
def test_a_wheel_that_is_installed_later_changes_no_bit_of_a_run(
    real: Callable[[], None],
    lean_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lean_recipe["train"] |= {"epochs": 1, "kernels": "own", "precision": "float32"}
    train(lean_recipe, out="whole", console=QUIET)
    run = stopped_copy(lean_recipe, tmp_path / "stopped", 13)
    began_with, kernels = RunFolder(run).environment()["convolutions"], operator.in_use()
    assert kernels is not None
    assert began_with["build"] == kernels.build == file_sha256(kernels.path)[:16]
    operator.use(None)
    monkeypatch.setattr(building, "PACKAGED", tmp_path / "package")
    wheels = building.packaged_path()
    wheels.parent.mkdir(parents=True)
    wheels.write_bytes(kernels.path.read_bytes() + b" ")  # as another compiler's: it has another hash
    wheels.with_suffix(".sha256").write_text(file_sha256(wheels))
    train(resume=run)
    assert "bit-exact" not in capsys.readouterr().err
    assert differing(tmp_path / "whole", run) == []
    assert RunFolder(run).environment()["convolutions"] == began_with
    operator.use(None)
    train(lean_recipe, out="new", console=QUIET)
    assert RunFolder(tmp_path / "new").environment()["convolutions"]["build"] == file_sha256(wheels)[:16]


@pytest.mark.slow
def test_a_profile_takes_them_too(real: Callable[[], None], tmp_path: Path) -> None:
    changes = ["model.name=cifar10_cnn", "train.kernels=own", "train.epochs=1", "train.threads=1"]
    found = profile("digits", set=changes, steps=1, out=tmp_path / "profile", console=QUIET)
    assert any("conv3x3" in one.name for one in found.operators)
