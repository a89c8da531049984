"""How a process finds its group, and how all of a group end when one of them fails.

torchrun, or whoever starts the processes, says in the environment where they meet: RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT, where several run on a host LOCAL_RANK and LOCAL_WORLD_SIZE too.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from pictorch.errors import (
    DivergedError,
    RecipeError,
    ResourceError,
    SaidElsewhereError,
    StoppedError,
    UserError,
    listed,
    missing_part,
)
from pictorch.host import process_mark
from pictorch.training.group import ALONE, Group, Launch

MEETING_SECONDS = 300.0  # how long the first processes wait for the last
_WORK_SECONDS = 3600.0  # how long a process may be busy, reading images for instance, while others wait
_LAST_WORDS_SECONDS = 3.0  # between the end of a process and its message at the others, at most
_SAVING_SECONDS = 60.0
_POLL_SECONDS = 0.02
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NUMBERS = ("RANK", "WORLD_SIZE", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_FAILURE = "failure"
# What torch says, in plain RuntimeErrors too, where another process has left.
_LOST = re.compile(r"gloo|nccl|connection|broken pipe|socket|timed out|timeout", re.IGNORECASE)


@contextmanager
def joined() -> Iterator[Group]:
    """Yields the group that this process was started into, or the one of a process alone.

    What is raised inside ends all processes: the first that failed raises its error, the others a
    SaidElsewhereError with the same exit code. Raises ResourceError where the processes do not meet,
    RecipeError where the environment says only in part where that is.
    """
    place = None if dist.is_initialized() else _place_in_group()
    if place is None:
        yield ALONE
        return
    group, store = _meet(*place)
    try:
        # Each torchrun counts by itself; one that took the place of another begins at 0.
        yield replace(group, restarts=group.largest(group.restarts)[0])
        group.wait()
    except BaseException as error:
        ending = _ending(group, store, error)
        if ending is None:
            raise
        raise ending from error
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _place_in_group() -> tuple[int, int] | None:
    """Returns the process's rank and how many there are, None for a process alone.

    A scheduler may set one or the other of the variables; only a group of several misses the rest of them.
    """
    given = {name: os.environ.get(name, "") for name in (*_NEEDED, *_NUMBERS)}
    missing = [name for name in _NEEDED if not given[name]]
    if missing and given["WORLD_SIZE"] in ("", "1"):
        return None
    wrong = [f"{name} {given[name]}" for name in _NUMBERS if given[name] and not given[name].isdecimal()]
    if missing:
        fault = f"WORLD_SIZE is {given['WORLD_SIZE']}, but {listed(missing)} {_is(missing)} not set"
    elif wrong:
        fault = f"{listed(wrong)} {_is(wrong)} not a number"
    elif int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        fault = f"RANK {given['RANK']} is not one of WORLD_SIZE {given['WORLD_SIZE']}, which count from 0"
    else:
        return int(given["RANK"]), int(given["WORLD_SIZE"])
    if given["LOCAL_RANK"].isdecimal() and int(given["LOCAL_RANK"]) > 0:
        raise SaidElsewhereError("the host's first process says it", RecipeError.exit_code)
    raise RecipeError(
        f"{fault}; start the processes with torchrun, which sets all of them, or one alone after "
        "`unset WORLD_SIZE`"
    )


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _meet(rank: int, world: int) -> tuple[Group, Store]:
    """Returns the group, after all of its processes have come, and what they tell each other through."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        meeting = timedelta(seconds=MEETING_SECONDS)
        store, _, _ = next(iter(rendezvous("env://", timeout=meeting)))
        store.set_timeout(meeting)
        store = PrefixStore(_name_of_attempt(store, rank, world), store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=_WORK_SECONDS)
        )
    except (RuntimeError, ValueError) as error:
        raise _not_met(error, rank, local_rank) from error
    launch = Launch(
        os.environ.get("TORCHELASTIC_RUN_ID", ""), process_mark(os.getppid()), process_mark(os.getpid())
    )
    group = Group(
        rank=rank,
        world=world,
        local_rank=local_rank,
        local_world=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launch=launch,
        is_joined=True,
    )
    return group, store


def _name_of_attempt(store: Store, rank: int, world: int) -> str:
    """Returns a name for this start of the group, the same in all its processes.

    The store may be older than they are, and hold what others wrote who had the same ranks.
    """
    deadline, own = time.monotonic() + MEETING_SECONDS, uuid.uuid4().hex
    seen, published = ["" for _ in range(world)], None
    store.set(f"pictorch/hello/{rank}", own)
    while time.monotonic() < deadline:
        if rank == 0:
            seen = [_read(store, f"pictorch/hello/{other}") for other in range(world)]
            if seen != published:
                store.set("pictorch/attempt", json.dumps(seen))
                published = seen
        else:
            text = _read(store, "pictorch/attempt")
            seen = json.loads(text) if text else seen
        name = f"pictorch/{seen[0]}"
        if len(seen) == world and seen[rank] == own:
            store.set(f"{name}/came/{rank}", own)
            if all(_read(store, f"{name}/came/{other}") == seen[other] != "" for other in range(world)):
                return name
        time.sleep(_POLL_SECONDS)
    came = sum(map(bool, seen))
    raise RuntimeError(f"{came} of {world} processes came within {MEETING_SECONDS:.0f} s")


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _not_met(error: Exception, rank: int, local_rank: int) -> UserError:
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    reason = " ".join(str(error).split())
    if re.search("EADDRINUSE|in use", reason):
        return ResourceError(
            f"{place}, where the processes are to meet, is in use; end the other program, or choose another "
            "port with torchrun's --master-port or --rdzv-endpoint, or MASTER_PORT"
        )
    if local_rank:
        return SaidElsewhereError("the host's first process says it", ResourceError.exit_code)
    return ResourceError(
        f"process {rank} does not meet its group at {place} ({reason[:60]}); check that every host was "
        "started, the address, and that no firewall is between them"
    )


def _ending(group: Group, store: Store, error: BaseException) -> UserError | None:
    """Returns what a process whose work ended with an error raises, None where it is the error itself."""
    is_lost = isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
    wait_seconds = _LAST_WORDS_SECONDS if is_lost else 0.0
    if isinstance(error, DivergedError | StoppedError) and not group.is_first:
        wait_seconds = _SAVING_SECONDS  # all processes raise it, and the first one knows most
    own: UserError | None = missing_part(error) if isinstance(error, ModuleNotFoundError) else None
    if is_lost:
        own = ResourceError(
            "a process of the group was lost, killed or cut off; go on with `--resume RUN` in the same "
            "command, or let torchrun restart the group by itself with --max-restarts"
        )
    exit_code = getattr(own or error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
    try:
        told = _failure_told(store, wait_seconds)
        if told is None:
            mine = json.dumps({"rank": group.rank, "exit_code": exit_code})
            told = json.loads(store.compare_set(_FAILURE, "", mine))
        if told["rank"] != group.rank:
            return SaidElsewhereError(f"process {told['rank']} says it", int(told["exit_code"]))
    except RuntimeError:  # the store went with the process or host that was lost
        if group.local_rank:
            return SaidElsewhereError("the host's first process says it", exit_code)
    return own


def _failure_told(store: Store, seconds: float) -> dict[str, int] | None:
    """Returns who failed first and with which exit code, waiting up to some seconds for it."""
    deadline = time.monotonic() + seconds
    while not store.check([_FAILURE]):
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_SECONDS)
    told: dict[str, int] = json.loads(store.get(_FAILURE))
    return told
