"""Wrong recipes: files, fields, values, and networks that cannot be what is asked of them."""

from pathlib import Path

import torch
from torch import nn

from messages.case import Case, Setup, again, instead, meant, told, typed
from messages.faults import not_installed, ordinary_rights, patched
from messages.material import RECIPE, recipe, run
from pictorch.networks import zoo

TRAIN = "train small.yaml -q --out out"
good: Setup = lambda: recipe()  # noqa: E731


def wrong(text: str) -> Setup:
    return lambda: recipe(text)


def changed(old: str, new: str) -> Setup:
    assert old in RECIPE
    return wrong(RECIPE.replace(old, new))


def unreadable() -> None:
    recipe().chmod(0)


class Narrow(nn.Module):
    """Gives three numbers, whatever the number of classes."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(images_nchw.mean(dim=(2, 3)))
        return logits


def problem(name: str, change: str, names: str, remedy: object, setup: Setup = good) -> Case:
    """A case of --set."""
    assert callable(remedy)
    return Case(name, f"{TRAIN} {change}", 2, names, remedy, setup)


def broken(name: str, text: str, names: str) -> Case:
    """A case of a file that is no recipe; a good one takes its place."""
    return Case(name, TRAIN, 2, names, again(good), wrong(text))


def network(change: str, right: str, names: str, says: str) -> Case:
    """A case of a network that cannot do what the recipe asks."""
    return Case(
        f"network {change}", f"{TRAIN} --set {change}", 2, names, instead(f"{TRAIN} {right}", says=says), good
    )


# fmt: off
CASES = [
    Case("unknown recipe", "recipes digit", 2, "'digit'", meant),
    Case("missing recipe file", "train nowhere.yaml", 2, "nowhere.yaml", typed(then_again=False)),
    broken("broken YAML", "data: {source: photos", "small.yaml is not readable as YAML (line 1"),
    broken("alias in YAML", "data: &all {source: photos}\nmodel: *all", "aliases (*name)"),
    broken("double key", "train: {epochs: 1}\ntrain: {epochs: 2}", "a key stands twice"),
    broken("value that YAML cannot make", "data: {source: 2020-13-45}", "month must be in 1..12"),
    broken("list in place of sections", "- data\n- model", "small.yaml is no recipe"),
    Case("recipe of 1 MB", TRAIN, 2, "small.yaml has 1,000,", again(good), wrong(RECIPE + "#" * 1_000_000)),
    Case("recipe in Latin-1", TRAIN, 2, "small.yaml", again(good), lambda: recipe().write_bytes("# é".encode("latin1"))),
    Case("recipe without rights", TRAIN, 2, "small.yaml cannot be read", typed(), unreadable, ordinary_rights),
    Case("unknown key", TRAIN, 2, "train.epoch = 1", meant, changed("epochs:", "epoch:")),
    Case("unknown section", TRAIN, 2, "optimiser", meant, changed("optimizer:", "optimiser:")),
    Case("section without keys", TRAIN, 2, "model = 5", again(good), changed("{name: simple_net}", "5")),
    Case("missing section", TRAIN, 2, "model.name", instead(f"{TRAIN} --set model.name=simple_net", says="--set model.name=VALUE"), changed("model: {name: simple_net}\n", "")),
    Case("missing key", TRAIN, 2, "optimizer.lr", instead(f"{TRAIN} --set optimizer.lr=0.05", says="--set optimizer.lr=VALUE"), changed("{lr: 0.05}", "{momentum: 0.5}")),
    problem("no value", "--set train.epochs", "--set train.epochs:", instead(f"{TRAIN} --set train.epochs=5", says="as `--set train.epochs=5`")),
    problem("no section", "--set epochs=3", "--set epochs:", instead(f"{TRAIN} --set train.epochs=5", says="as `--set train.epochs=5`")),
    problem("value that is no YAML", "--set data.source=[", "--set data.source=[", instead(f"{TRAIN} --set 'data.source=\"photos\"'", says="put it in quotes")),
    problem("zero epochs", "--set train.epochs=0", "train.epochs = 0", instead(f"{TRAIN} --set train.epochs=1", says="greater than 0")),
    problem("rate that is text", "--set optimizer.lr=fast", "optimizer.lr = 'fast'", instead(f"{TRAIN} --set optimizer.lr=0.01", says="should be a valid number")),
    problem("nearly a choice", "--set schedule.name=cosin", "schedule.name = 'cosin'", meant),
    problem("triple with a zero", "--set 'model.std=[0, 1, 1]'", "model.std = [0, 1, 1]", instead(f"{TRAIN} --set 'model.std=[1, 1, 1]'", says="greater than 0")),
    problem("parts that do not divide", "--set train.accumulate=3", "train.accumulate: 3", typed()),
    problem("a step no graph holds", "--set train.cuda_graph=true --set train.accumulate=2", "train.accumulate 2", instead(f"{TRAIN} --set train.cuda_graph=auto --set train.accumulate=2", says="give `--set train.cuda_graph=auto`")),
    problem("early stop without validation", "--set train.early_stop_epochs=2 --set data.val_fraction=0", "train.early_stop_epochs: 2", instead(f"{TRAIN} --set train.early_stop_epochs=2", says="leave out one of the two")),
    problem("own kernels in float64", "--set train.kernels=own --set train.precision=float64", "train.precision is float64", typed()),
    problem("checkpoints that are not made", "--set train.keep_checkpoints=2", "train.keep_checkpoints: 2", typed()),
    problem("unfreezing of nothing", "--set train.unfreeze_epoch=2", "train.unfreeze_epoch: 2", typed()),
    problem("freezing of nothing", "--set train.freeze_epoch=2", "train.freeze_epoch: 2", typed()),
    problem("thaw before the frost", "--set train.freeze_epoch=2 --set train.unfreeze_epoch=1 --set 'train.freeze=[conv1*]'", "train.freeze_epoch: 2", typed()),
    problem("sizes for all of the training", "--set 'augment.sizes=[[4, 0.5], [6, 0.5]]'", "augment.sizes", instead(f"{TRAIN} --set 'augment.sizes=[]'", says="less than 1")),
    problem("plateau without validation", "--set schedule.name=plateau --set data.val_fraction=0", "plateau", instead(f"{TRAIN} --set schedule.name=plateau", says="leave out one of the two")),
    problem("weight of an unknown class", "--set 'loss.class_weights={blu: 2}'", "'blu'", meant),
    problem("pattern without parameters", "--set 'train.freeze=[convolution*]'", "'convolution*'", instead(f"{TRAIN} --set 'train.freeze=[conv1*]'", says="known: conv1.bias")),
    problem("everything frozen", "--set 'train.freeze=[backbone, fc*]'", "train.freeze", typed()),
    Case("muon without filters", f"{TRAIN} --set optimizer.name=muon", 2, "muon", typed(), good, patched(zoo, "_SIZED_NETWORKS", {"simple_net": lambda classes, size: nn.Sequential(nn.Flatten(), nn.Linear(192, classes))})),
    problem("crop larger than the images", "--set augment.crop_padding=8", "augment.crop_padding: 8", typed()),
    problem("cutout larger than the images", "--set augment.cutout=9", "augment.cutout: 9", typed()),
    problem("unknown network", "--set model.name=simple_nett", "'simple_nett'", meant),
    Case("unknown network of torchvision", "models torchvision:resnet181", 2, "'resnet181'", meant),
    Case("network by the tutorials' name", f"{TRAIN} --set model.name=SimpleNet", 2, "SimpleNet", typed(), good),
    Case("section that nobody knows", f"{TRAIN} --set zoo.x=1", 2, "zoo", instead(TRAIN, says="unknown section"), good),
    problem("images too small for the network", "--set data.image_size=2", "2 pixels", typed()),
    network("model.depth=3", "--set model.depth=null", "model.depth", "that of simple_net is fixed"),
    network("model.norm_scale=fixed", "--set model.norm_scale=null", "model.norm_scale", "has no batch norm"),
    Case("whitening without a convolution", f"{TRAIN} --set model.whitening=true", 2, "model.whitening", typed(), good, patched(zoo, "_SIZED_NETWORKS", {"simple_net": lambda classes, size: nn.Sequential(nn.Flatten(), nn.Linear(192, classes))})),
    problem("size that is not smaller", "--set 'augment.sizes=[[8, 0.5]]' --set model.name=speednet --set 'model.widths=[4, 4]'", "augment.sizes: 8", typed()),
    problem("size that the network cannot take", "--set 'augment.sizes=[[4, 0.5]]'", "augment.sizes", typed()),
    network("model.dropout=0.1", "--set model.dropout=null", "model.dropout", "leave out 0.1"),
    network("model.stem=small", "--set model.stem=auto", "model.stem", "leave out small"),
    Case("no activation to change", f"{TRAIN} --set model.activation=gelu", 2, "model.activation", instead(TRAIN, says="leave out gelu"), good, patched(zoo, "_SIZED_NETWORKS", {"simple_net": lambda classes, size: nn.Sequential(nn.Flatten(), nn.Linear(192, classes))})),
    Case("network of another width", TRAIN, 2, "(2, 5)", again(lambda: None), good, patched(zoo, "_SIZED_NETWORKS", {"simple_net": Narrow})),
    Case("network of an edited run", "evaluate run -q", 2, "'simple_nett'", again(lambda: _edit("simple_nett", "simple_net")), lambda: (run(), _edit("simple_net", "simple_nett"))),
    Case("unknown network of timm", "models timm:resnet181", 2, "'resnet181'", meant),
    Case("torch is not installed", "models", 9, "torch", told("installs a package", says="`pip install 'pictorch[train]'`"), fault=not_installed("torch", gone="pictorch.exporting.network_list")),
    Case("timm is not installed", f"{TRAIN} --set model.name=timm:resnet18", 9, "timm", told("installs a package", says="`pip install 'pictorch[timm]'`"), good, not_installed("timm")),
]
# fmt: on


def _edit(old: str, new: str) -> None:
    path = Path("run/recipe.yaml")
    path.write_text(path.read_text().replace(f"name: {old}\n", f"name: {new}\n"))
