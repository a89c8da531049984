"""What cases start from: small real images, a run trained on them, a bundle; each case has copies."""

import shutil
from functools import cache
from pathlib import Path

from made_data import MadeCifar, write_classes
from pictorch.benchmarking.plan import write_plan
from pictorch.evaluation.evaluate import evaluate
from pictorch.exporting.export import export
from pictorch.training.console import Console
from pictorch.training.start import train
from tiny_bundle import make_bundle

CLASSES = ("blue", "green", "red")
RECIPE = """\
data: {source: photos}
model: {name: simple_net}
optimizer: {lr: 0.05}
train: {epochs: 1, batch_size: 4, threads: 1, device: cpu}
"""
HOME = Path()  # set for the session by conftest


def photos(name: str = "photos") -> Path:
    """Copies 18 images of 8 x 8 pixels in three classes."""
    return _copied("photos", name)


def recipe(text: str = RECIPE, *, name: str = "small.yaml") -> Path:
    """Writes a recipe that trains on them in a moment, with the images beside it."""
    if not Path("photos").exists():
        photos()
    Path(name).write_text(text)
    return Path(name)


def run(name: str = "run") -> Path:
    """Copies a run of two epochs, both of which are kept."""
    return _copied("run", name)


def zoo(name: str = "zoo") -> Path:
    """Copies the folder of `bench zoo` in which that run is already trained, judged and exported."""
    return _copied("zoo", name)


def speedrun(name: str = "speedrun") -> Path:
    """Copies the folder of `bench speedrun small.yaml` in which that run is already trained and judged."""
    recipe()
    return _copied("speedrun", name)


def bundle(name: str = "bundle") -> Path:
    """Copies a bundle of the three classes."""
    return _copied(name if name.endswith(".zip") else "bundle", name)


def cifar(name: str = "batches") -> Path:
    """Copies made-up images in the layout of CIFAR-10's batches, 'archive' for the archive."""
    return _copied("cifar" if name != "archive" else "cifar.tar.gz", name)


def _copied(kind: str, name: str) -> Path:
    made = _made(kind)
    target = Path(name)
    if made.is_dir():
        shutil.copytree(made, target)
    else:
        shutil.copy(made, target)
    return target


@cache
def _made(kind: str) -> Path:
    path = HOME / kind
    if kind == "photos":
        return write_classes(path, dict.fromkeys(CLASSES, 6))
    if kind == "run":
        source = HOME / "small.yaml"
        source.write_text(RECIPE.replace("source: photos", f"source: {_made('photos')}"))
        changes = {"train.epochs": 2, "train.save_every_epochs": 1}
        train(source, set=changes, out=path, console=Console("quiet"))
        return path
    if kind == "zoo":
        trained = shutil.copytree(_made("run"), path / "simple_net-0")
        evaluate(trained, split="test")
        export(trained)
        settings = {"models": ["simple_net"], "recipe": str(HOME / "small.yaml"), "epochs": 2, "seeds": 1}
        write_plan(path, "zoo", {**settings, "data": None, "device": None, "set": None})
        return path
    if kind == "speedrun":
        evaluate(shutil.copytree(_made("run"), path / "seed-0"), split="test", views="flip_shift")
        settings = {"recipe": "small.yaml", "target": 0.9, "seeds": 1}
        write_plan(path, "speedrun", {**settings, "data": None, "device": None, "set": None})
        return path
    if kind == "cifar":
        return MadeCifar(10).write_batches(HOME / "made").rename(path)
    if kind == "cifar.tar.gz":
        return MadeCifar(10).write_archive(HOME / "made")
    make_bundle(path, recipe={"name": "small", "data": {"source": "photos"}})
    return path
