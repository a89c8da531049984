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


SMALL = "train small.yaml -q --out out"

# fmt: off
CASES = [
    Case("batch that does not divide", SMALL, 2, "among 7 processes", typed(), material.recipe, in_group(world=7)),
    Case("more processes than GPUs", f"{SMALL} --device cuda", 2, "4 processes on this host, but 2 GPUs", typed(1), material.recipe, in_group(2, local_world=4)),
    Case("process that does not come", SMALL, 5, "1 of 2 processes came", again(lambda: None), material.recipe, alone_of_two),
    Case("port in use by another program", SMALL, 5, "is in use", again(lambda: None), material.recipe, port_in_use),
    Case("evaluation under torchrun", "evaluate run -q", 2, "evaluate", again(lambda: None), material.run, environment(RANK="0", WORLD_SIZE="2", TORCHELASTIC_RUN_ID="x")),
]
# fmt: on
