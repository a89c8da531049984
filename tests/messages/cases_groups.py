"""Trainings by several processes that cannot begin."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from messages import material
from messages.case import Case, again, typed
from messages.cases_own import GOOD, own_net
from messages.faults import Fault, environment
from pictorch.training import joining, start
from pictorch.training.group import Group


def in_group(gpus: int = 0, **about: Any) -> Fault:
    """Lets the process take itself for one of several, on a host with so many GPUs."""

    @contextmanager
    def joined() -> Iterator[Group]:
        yield Group(**about)

    @contextmanager
    def fault() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(start, "joined", joined)
            if gpus:
                patch.setattr(torch.cuda, "is_available", lambda: True)
                patch.setattr(torch.cuda, "device_count", lambda: gpus)
            yield

    return fault


def meeting(port: int, world: int, **more: str) -> AbstractContextManager[object]:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return environment(RANK="0", WORLD_SIZE=str(world), **place, **more)()


@contextmanager
def alone_of_two() -> Iterator[None]:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun's
    with pytest.MonkeyPatch.context() as patch, meeting(store.port, 2, TORCHELASTIC_USE_AGENT_STORE="True"):
        patch.setattr(joining, "MEETING_SECONDS", 0.2)
        yield


@contextmanager
def port_in_use() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as server, meeting(server.getsockname()[1], 1):
        yield


@contextmanager
def group_of_one() -> Iterator[None]:
    """What torchrun starts for one process, in which gradients are averaged too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with meeting(port, 1):
        yield


def run_on_a_gpu() -> None:
    """A run whose recipe asks for a GPU, with the images beside it."""
    recipe = material.run() / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("device: cpu", "device: cuda"))


# A weight that the logits do not depend on.
UNUSED = (
    GOOD
    + """\

class Net(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.body = nn.Linear(3 * image_size**2, num_classes)
        self.head = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images_nchw):
        return self.head(images_nchw.flatten(1))
"""
)
SMALL = "train small.yaml -q --out out"
OWN = f"{SMALL} --set model.name=own_net:Net --set loss.l1=0.1"
HALF = environment(RANK="0", WORLD_SIZE="2")
PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}
STARTED = environment(RANK="0", WORLD_SIZE="2", TORCHELASTIC_RUN_ID="x")
ONE_DOOR = "cli: in Python the first process may, while the others wait"

# fmt: off
CASES = [
    Case("batch that does not divide", SMALL, 2, "among 7 processes", typed(), material.recipe, in_group(world=7)),
    Case("more processes than GPUs", f"{SMALL} --device cuda", 2, "4 processes on this host, but 2 GPUs", typed(1), material.recipe, in_group(2, local_world=4)),
    Case("process that does not come", SMALL, 5, "1 of 2 processes came", again(lambda: None), material.recipe, alone_of_two),
    Case("port in use by another program", SMALL, 5, "is in use", again(lambda: None), material.recipe, port_in_use),
    Case("resume with more processes than GPUs", "train --resume run -q --epochs 3", 2, "CUDA_VISIBLE_DEVICES=", typed(1), run_on_a_gpu, in_group(2, local_world=4)),
    Case("environment of half a group", SMALL, 2, "MASTER_ADDR, MASTER_PORT are not set", typed(), material.recipe, HALF),
    Case("rank that is no number", SMALL, 2, "RANK first", typed(), material.recipe, environment(RANK="first", WORLD_SIZE="2", **PLACE)),
    Case("rank beyond the group", SMALL, 2, "RANK 2", typed(), material.recipe, environment(RANK="2", WORLD_SIZE="2", **PLACE)),
    Case("compiling in a group", f"{SMALL} --set train.compile=true", 2, "train.compile", typed(), material.recipe, group_of_one),
    Case("penalty on what is not used", OWN, 2, "body.weight", typed(), lambda: own_net(UNUSED), group_of_one),
    Case("evaluation under torchrun", "evaluate run -q", 2, "evaluate", again(lambda: None), material.run, STARTED, only=ONE_DOOR),
    Case("shard under torchrun", "predict bundle photos --shard 1/2 --out rows.csv", 2, "--shard I/N", again(lambda: None), lambda: (material.bundle(), material.photos()), STARTED, only=ONE_DOOR),
]
# fmt: on
