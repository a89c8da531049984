"""torchvision's weights of ImageNet: found on this machine, else downloaded, and known by their hash."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch

from pictorch.download import RemoteFile, download
from pictorch.errors import CheckpointError, RecipeError
from pictorch.networks.state_dicts import StateDict, read_state_dict
from pictorch.networks.stemmed import STEMMED_NETWORKS
from pictorch.places import download_folder, named_folder

IMAGENET = "imagenet"
_ZOO = "torchvision:"

# These two turn ImageNet's normalisation into this one first, in a layer of torchvision's that is off here.
_HALF_NORMALIZED = ("googlenet", "inception_v3")


def imagenet_weights(model_name: str, progress: Callable[[str], None]) -> StateDict:
    """Returns the ImageNet weights of a network of torchvision: the first that were published of it.

    They are looked for in $PICTORCH_DATA, among torch's own downloads and in the cache, then downloaded.
    Raises RecipeError for a network that has none, CheckpointError where they cannot be had or are others.
    """
    entry = _entry(model_name)
    address = entry.url
    name = PurePosixPath(urlsplit(address).path).name
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    assert digits is not None, address
    file = RemoteFile(name, (address,), digits[1], "sha256", refusal=CheckpointError)
    path = _found(file) or download(file, download_folder(), progress, looked_in=_folders())
    half = any(model_name.endswith(each) for each in _HALF_NORMALIZED)
    transforms = entry.transforms()
    return replace(
        read_state_dict(path),
        origin=f"torchvision's {entry.name} at {path}",
        class_names=tuple(entry.meta["categories"]),
        mean=(0.5, 0.5, 0.5) if half else tuple(transforms.mean),
        std=(0.5, 0.5, 0.5) if half else tuple(transforms.std),
    )


def _entry(model_name: str) -> Any:
    """Returns the member of torchvision's enum of a network's weights."""
    if model_name not in STEMMED_NETWORKS and not model_name.startswith(_ZOO):
        raise RecipeError(
            f"model.weights: imagenet is for networks of torchvision, and {model_name} is none; "
            "give a .pth file, or leave it out with `--set model.weights=null`"
        )
    import torchvision.models

    known: Any = torchvision.models.get_model_weights(model_name.removeprefix(_ZOO))
    return known.__members__.get("IMAGENET1K_V1", known.DEFAULT)


def _found(file: RemoteFile) -> Path | None:
    """Returns the file from the first folder that has it; raises CheckpointError where it is another."""
    path = next((folder / file.name for folder in _folders() if (folder / file.name).is_file()), None)
    if path is None:
        return None
    with path.open("rb") as content:
        digits = file.digest_of(content)
    if digits != file.digest:
        raise CheckpointError(
            f"{path} is not what torchvision published (its sha256 begins with {digits}); remove it, and it "
            "is downloaded anew"
        )
    return path


def _folders() -> list[Path]:
    named = named_folder()
    return [*([named] if named else []), Path(torch.hub.get_dir()) / "checkpoints", download_folder()]
