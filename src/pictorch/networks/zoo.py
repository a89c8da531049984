"""The names that model.name may have, and the one function that builds what they name."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pictorch.errors import MissingPartError, RecipeError, UserError, unknown
from pictorch.images import InputSpec
from pictorch.networks.classifier import Classifier
from pictorch.networks.options import apply_options, own_logit_scale
from pictorch.networks.own import OwnNetwork, own_network
from pictorch.networks.speednet import SpeedNet
from pictorch.networks.stemmed import STEMMED_NETWORKS
from pictorch.networks.tutorials import Cifar10Cnn, LeNet, SimpleNet, SmallBnCnn
from pictorch.plugins import GIVEN, in_short
from pictorch.recipe import ModelSection

SMALL_IMAGE_SIDE = 64

# num_classes, image_size in pixels
_SIZED_NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "cifar10_cnn": Cifar10Cnn,
    "lenet": LeNet,
    "simple_net": SimpleNet,
    "small_bn_cnn": SmallBnCnn,
}
_SPEEDNET = "speednet"
NETWORKS = tuple(sorted([*_SIZED_NETWORKS, *STEMMED_NETWORKS, _SPEEDNET]))

# What the tutorials call their networks in their own code.
_TUTORIALS_NAMES = {
    "Net": "lenet",
    "SimpleNet": "simple_net",
    "ImageClassification": "small_bn_cnn",
    "CIFAR10CNN": "cifar10_cnn",
    "alex": "alexnet",
}
_ZOOS = ("torchvision", "timm")


def name_problem(name: str, *, flag: str = "--set model.name=") -> str | None:
    """Returns the line that refuses a network's name, None where there is such a network.

    `flag` is how the user names the network, for the remedy.
    """
    zoo, colon, _ = name.partition(":")
    if name in NETWORKS or (colon and zoo in _ZOOS) or is_own(name):
        return None
    if name in _TUTORIALS_NAMES:
        ours = _TUTORIALS_NAMES[name]
        return f"model.name: the tutorials' {name} is {ours} here; give `{flag}{ours}`"
    known = [*NETWORKS, "torchvision:NAME", "timm:NAME", "package.module:function"]
    return f"model.name: {unknown('network', name, known)}"


def is_own(name: str) -> bool:
    """Returns whether a name is that of a user's own function or object, imported or not."""
    package, colon, function = name.partition(":")
    parts = [*package.split("."), function]
    return bool(colon) and package not in _ZOOS and all(part.isidentifier() for part in parts)


def is_imported(name: str) -> bool:
    """Returns whether a name is that of a user's own function, which building imports and calls."""
    return is_own(name) and not name.startswith(f"{GIVEN}:")


def build_network(
    model: ModelSection,
    num_classes: int,
    input_spec: InputSpec,
    *,
    own: OwnNetwork | None = None,
    size_flag: str = "--set data.image_size=",
) -> Classifier:
    """Returns the classifier that a recipe names, with fresh weights from torch's generator.

    `own` is what was given in Python for a name of the user's own; a module keeps its weights. A dummy
    batch goes through first; raises RecipeError when the name is unknown, an option does not fit, or the
    network cannot take the images or gives something else than (N, num_classes) logits. `size_flag` is how
    the user sets the size of the images, for the remedy.
    """
    problem = name_problem(model.name)
    if own is not None and not is_own(model.name):
        problem = f"model: the network is {model.name}, which pictorch knows; leave out model="
    if problem:
        raise RecipeError(problem)
    refusals: tuple[type[BaseException], ...] = (AssertionError, RuntimeError, ValueError)
    refusals = (Exception, SystemExit) if is_own(model.name) else refusals
    try:
        with warnings.catch_warnings():  # images too small for a network are refused below
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            network = _bare_network(model, num_classes, input_spec.image_size, own)
        apply_options(network, model)
        classifier = Classifier(network, input_spec, num_classes, own_logit_scale(network, model)).eval()
        side = input_spec.stored_size
        with torch.no_grad():  # weights that are made at the first batch must be able to learn
            logits = classifier(torch.zeros((2, side, side, 3), dtype=torch.uint8))
    except UserError:
        raise
    except refusals as error:
        why = f" ({in_short(error)})" if is_own(model.name) else ""
        raise RecipeError(
            f"model.name: {model.name} cannot take images of {input_spec.image_size} pixels{why}; "
            f"try another size, as `{size_flag}{224 if input_spec.image_size == 32 else 32}`"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RecipeError(
            f"model.name: {model.name} gives an output of shape {shape} for 2 images, "
            f"not (2, {num_classes}); let its last layer give a number for each class"
        )
    return classifier.train()


def _bare_network(
    model: ModelSection, num_classes: int, image_size: int, own: OwnNetwork | None
) -> nn.Module:
    for field, value in (("widths", model.widths), ("depth", model.depth)):
        if value is not None and model.name != _SPEEDNET:
            raise RecipeError(
                f"model.{field}: that of {model.name} is fixed; give `--set model.{field}=null`, "
                "or `--set model.name=speednet`"
            )
    if model.name in STEMMED_NETWORKS:
        small = image_size < SMALL_IMAGE_SIDE if model.stem == "auto" else model.stem == "small"
        return STEMMED_NETWORKS[model.name](num_classes, small)
    if model.stem != "auto":
        raise RecipeError(f"model.stem: {model.name} has one stem only; leave out {model.stem}")
    if model.name == _SPEEDNET:
        return SpeedNet(num_classes, model.widths, model.depth)
    if model.name in _SIZED_NETWORKS:
        return _SIZED_NETWORKS[model.name](num_classes, image_size)
    if is_own(model.name):
        return own_network(model.name, own, num_classes, image_size)
    zoo, _, name = model.name.partition(":")
    return {"torchvision": _from_torchvision, "timm": _from_timm}[zoo](name, num_classes, image_size)


def _from_torchvision(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Returns a classification network of torchvision without weights."""
    import torchvision.models

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise RecipeError(f"model.name: {unknown('torchvision network', name, names)}")
    options: dict[str, Any] = {"image_size": image_size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _from_timm(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Returns a network of timm without weights; its image size follows where timm lets it."""
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingPartError("timm", "timm") from None
    if not timm.is_model(name):
        raise RecipeError(f"model.name: {unknown('timm network', name, timm.list_models())}")
    try:
        network = timm.create_model(name, num_classes=num_classes, img_size=image_size)
    except TypeError:  # networks of convolutions take any size and refuse to be told one
        network = timm.create_model(name, num_classes=num_classes)
    return network
