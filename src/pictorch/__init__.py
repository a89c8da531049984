"""pictorch trains, judges and ships image classifiers.

Every command of the command line has a function of the same name here. They are imported when they
are first used, so that `import pictorch` is quick and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pictorch.benchmarking.exported import bench_export as bench_export
    from pictorch.benchmarking.ladder import bench_ladder as bench_ladder
    from pictorch.benchmarking.profiling import profile as profile
    from pictorch.benchmarking.serving import bench_serving as bench_serving
    from pictorch.benchmarking.speedrun import bench_speedrun as bench_speedrun
    from pictorch.benchmarking.zoo import bench_zoo as bench_zoo
    from pictorch.datasets.check import data_check as data_check
    from pictorch.datasets.show import data_show as data_show
    from pictorch.diagnosis import doctor as doctor
    from pictorch.evaluation.evaluate import evaluate as evaluate
    from pictorch.exporting.export import export as export
    from pictorch.exporting.network_list import models as models
    from pictorch.importing.imported import import_model as import_model
    from pictorch.predictor import load as load
    from pictorch.predictor import predict as predict
    from pictorch.predictor import verify as verify
    from pictorch.recipe.files import load_recipe as load_recipe
    from pictorch.recipe.files import recipes as recipes
    from pictorch.reporting.report import report as report
    from pictorch.run_list import runs as runs
    from pictorch.serving.process import serve as serve
    from pictorch.training.convert import convert as convert
    from pictorch.training.start import train as train
    from pictorch.walkthrough import demo as demo

_HOMES = {
    "bench_export": "pictorch.benchmarking.exported",
    "bench_ladder": "pictorch.benchmarking.ladder",
    "bench_serving": "pictorch.benchmarking.serving",
    "bench_speedrun": "pictorch.benchmarking.speedrun",
    "bench_zoo": "pictorch.benchmarking.zoo",
    "convert": "pictorch.training.convert",
    "data_check": "pictorch.datasets.check",
    "data_show": "pictorch.datasets.show",
    "demo": "pictorch.walkthrough",
    "doctor": "pictorch.diagnosis",
    "evaluate": "pictorch.evaluation.evaluate",
    "export": "pictorch.exporting.export",
    "import_model": "pictorch.importing.imported",
    "load": "pictorch.predictor",
    "load_recipe": "pictorch.recipe.files",
    "models": "pictorch.exporting.network_list",
    "predict": "pictorch.predictor",
    "profile": "pictorch.benchmarking.profiling",
    "recipes": "pictorch.recipe.files",
    "report": "pictorch.reporting.report",
    "runs": "pictorch.run_list",
    "serve": "pictorch.serving.process",
    "train": "pictorch.training.start",
    "verify": "pictorch.predictor",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pictorch' has no attribute {name!r}")
    try:
        home = import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        from pictorch.errors import missing_part

        raise missing_part(error) or error from None
    return getattr(home, name)


def __dir__() -> list[str]:
    return __all__
