"""The processes that train together, each with a part of every batch; one alone is a group of one."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from pictorch.errors import DataError, RecipeError
from pictorch.recipe import TrainSection


class Launch(NamedTuple):
    """Who started a process: torchrun's id for all hosts, torchrun's process here; and the process itself."""

    id: str
    torchrun: str
    process: str

    def follows(self, earlier: object, restarts: int) -> bool:
        """Returns whether this is another start of the training that a record of it is from.

        A torchrun that lost a host does not count the start that comes then; one that took the place of
        another is known by its id, where it was given one.
        """
        if not isinstance(earlier, list) or len(earlier) != len(self) or earlier[2] == self.process:
            return False
        has_same_id = self.id not in ("", "none") and earlier[0] == self.id
        return bool(self.id) and (earlier[1] == self.torchrun or (restarts > 0 and has_same_id))


NO_LAUNCH = Launch("", "", "")


@dataclass(frozen=True)
class Group:
    """What a process is in its group, and what the group does together.

    `rank` counts over all hosts, `local_rank` over those of this one; `restarts` is how often torchrun
    says that it started the group anew, `launch` names that start. All processes call the same methods in
    the same order. One that was not joined (`is_joined`) does nothing in them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    restarts: int = 0
    launch: Launch = NO_LAUNCH
    is_joined: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Returns the tensor, which now holds the sum over all processes."""
        if self.is_joined:
            dist.all_reduce(tensor)
        return tensor

    def mean_(self, tensor: Tensor) -> Tensor:
        """Returns the tensor, which now holds the mean over all processes."""
        return self.sum_(tensor).div_(self.world) if self.is_joined else tensor

    def largest(self, *numbers: int) -> list[int]:
        """Returns for each number the largest that a process gives."""
        if not self.is_joined:
            return list(numbers)
        values = torch.tensor(numbers)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return [int(value) for value in values.tolist()]

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set in one process or more."""
        return bool(self.largest(flag)[0])

    def wait(self) -> None:
        """Returns when all processes are here."""
        self.largest(0)

    def told(self, make: Callable[[], bytes], by: int = 0) -> bytes:
        """Returns what the first process makes, or the one of rank `by`, in all processes."""
        if not self.is_joined:
            return make()
        content = make() if self.rank == by else b""
        size = self.largest(len(content))[0]
        if size == 0:
            return b""
        filled = bytearray(content) if self.rank == by else bytearray(size)
        values = torch.frombuffer(filled, dtype=torch.uint8)
        dist.broadcast(values, by)
        return values.numpy().tobytes()

    def told_json(self, make: Callable[[], Any], by: int = 0) -> Any:
        """Returns the value that the process of rank `by` makes, in the others as JSON gives it back."""
        made: list[Any] = []

        def encoded() -> bytes:
            made.append(make())
            return json.dumps(made[0]).encode() if self.is_joined else b""

        content = self.told(encoded, by)
        return made[0] if made else json.loads(content)

    def tell_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Gives the tensors of all processes the values that they have in the first one."""
        for tensor in tensors if self.is_joined else ():
            values = tensor.detach().contiguous()
            dist.broadcast(values, 0)
            if values.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(values)

    def part_of(self, count: int) -> slice:
        """Returns which of `count` things in a row are for this process."""
        return slice(*(count * rank // self.world for rank in (self.rank, self.rank + 1)))

    def gathered(self, rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Returns the rows of all processes, `count` in all, each having those of its `part_of`."""
        if not self.is_joined:
            return rows
        longest = -(-count // self.world)
        padded = torch.zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = torch.from_numpy(rows)
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        sizes = [count * (rank + 1) // self.world - count * rank // self.world for rank in range(self.world)]
        return np.concatenate([part[:size].numpy() for part, size in zip(parts, sizes, strict=True)])

    @contextmanager
    def one_after_the_other(self) -> Iterator[None]:
        """Lets the first process of each host do the work alone, then the others, who find what it kept."""
        if self.local_rank > 0:
            self.wait()
        yield
        if self.local_rank == 0:
            self.wait()

    def check_alike(self, facts: Mapping[str, Any]) -> None:
        """Raises RecipeError or DataError in a process with another fact than the first; the others wait."""
        if not self.is_joined:
            return
        first = self.told_json(lambda: dict(facts))
        own = json.loads(json.dumps(dict(facts)))
        names = [name for name in {**first, **own} if own.get(name) != first.get(name)]
        if names:
            name, host = names[0], socket.gethostname()
            raise (DataError if "images" in name else RecipeError)(
                f"process {self.rank} on {host} has {name} {brief(own.get(name))}, the first process has "
                f"{brief(first.get(name))}; start all with the same command, recipe, images and versions"
            )
        self.wait()


ALONE = Group()


def brief(value: Any) -> str:
    """Returns a value for a message, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else f"{text[:30]}..."


def check_divides(group: Group, batch_size: int, accumulate: int, *, is_new: bool) -> None:
    """Raises RecipeError where a batch does not give all processes, and all parts of it, as many images."""
    parts = group.world * accumulate
    if batch_size % parts == 0 or group.world == 1:
        return
    each = f" in {accumulate} parts each" if accumulate > 1 else ""
    below, above = batch_size // parts * parts, -(-batch_size // parts) * parts
    sizes = [f"`--set train.batch_size={size}`" for size in (below, above) if size]
    fitting = max(n for n in range(1, group.world) if batch_size % (n * accumulate) == 0 or n == 1)
    remedy = f"give {' or '.join(sizes)}" if is_new else f"start {fitting} with `--nproc-per-node {fitting}`"
    raise RecipeError(
        f"train.batch_size: {batch_size} images a step do not divide among {group.world} processes{each}; "
        f"{remedy}"
    )


def check_holds(group: Group, section: TrainSection, device: str) -> None:
    """Raises RecipeError where a recipe asks for what is off where processes average their gradients."""
    is_captured = section.cuda_graph is True and device == "cuda"  # there is no other that could be
    asked = {"compile": section.compile is True, "cuda_graph": is_captured}
    field = next((field for field, is_asked in asked.items() if is_asked), None)
    if group.is_joined and field is not None:
        raise RecipeError(
            f"train.{field}: true is for one process alone, not for those of a group that average their "
            f"gradients; give `--set train.{field}=auto`"
        )
