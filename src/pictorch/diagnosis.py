"""What pictorch finds on this machine, and the one thing to do next; works without torch too."""

import os
import platform
import re
import shutil
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pictorch import durable, host, notebook
from pictorch.datasets.sources import SOURCES, locate_source
from pictorch.errors import MissingPartError, ResourceError, UserError
from pictorch.formats import plain
from pictorch.kernels import measurements
from pictorch.kernels.building import (
    Compiler,
    Unavailable,
    find_compiler,
    packaged_path,
    present_paths,
    times_folder,
)
from pictorch.places import cache_folder, data_folders
from pictorch.recipe import SECTIONS, DataSection, TrainSection, default_of
from pictorch.recipe.files import recipe_header

_LEAST_DISK_BYTES = 1_000_000_000  # a run of cifar10-cnn takes 76 MB, its decoded images 184 MB
_LEAST_MEMORY_BYTES = 2_000_000_000  # cifar10-cnn takes 1.2 GB (docs/log.md), others of its size more
_BUSY_LOAD = 0.5

Facts = dict[str, Any]


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found. Sizes are in bytes; None is what could not be found out.

    `versions`, `processor`, `memory`, `disk` are records; `devices`, `data` (named sources), `parts`
    (optional ones, with what they lack and the line that installs it) are lists of them; `auto` tells
    for each field of the recipe that may be 'auto' its value here, the rule and what it is worth;
    `kernels` whether the convolution kernels are built, by which compiler and for which instruction
    set, and what was measured of them.
    """

    versions: dict[str, str | None]
    processor: Facts
    kernels: Facts
    devices: tuple[Facts, ...]
    memory: Facts
    disk: tuple[Facts, ...]
    data: tuple[Facts, ...]
    parts: tuple[Facts, ...]
    auto: dict[str, Facts]
    remarks: tuple[str, ...]
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `doctor --json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        auto = ({"field": path, "here": plain(one["value"]), "rule": one["reason"].removeprefix("auto: ")}
                for path, one in self.auto.items())  # fmt: skip
        told = {
            "processor": self.processor["name"],
            "devices": ", ".join(one["name"] for one in self.devices) or None,
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items() if number),
            "kernels": self.kernels["instruction_set"] or self.kernels["problem"],
            "images": ", ".join(f"{one['name']} {'found' if one['found'] else '–'}" for one in self.data),
        }
        table = notebook.rows("What auto becomes", auto, left=("field", "here", "rule"))
        return notebook.card(self.advice, notebook.facts(told), table, *self.remarks)


def doctor(*, build_kernels: bool = False) -> Diagnosis:
    """Returns versions, devices, settings, data and free space of this machine, with one advice.

    Nothing is changed, downloaded or decoded, but with `build_kernels` the convolution kernels are compiled
    into the cache where they are not there yet. Raises MissingPartError where no compiler is, ResourceError
    where kernels cannot be built or do not pass their test.
    """
    kernels = _built_kernels() if build_kernels else _kernels()
    parts = _optional_parts()
    total_bytes, free_bytes = host.memory_bytes()
    devices, auto, remarks = _asked_of_torch()
    found: Facts = {
        "versions": {"python": platform.python_version(), **_versions(parts)},
        "processor": _processor(),
        "kernels": kernels,
        "devices": tuple(devices),
        "memory": {"total_bytes": total_bytes, "free_bytes": free_bytes},
        "disk": (_room("runs", Path("runs")), _room("cache", cache_folder())),
        "data": tuple(_place_of(name) for name in SOURCES),
        "parts": tuple(
            {"extra": extra, "missing": lacks, "install": f"pip install 'pictorch[{extra}]'"}
            for extra, lacks in parts.items()
        ),
        "auto": auto,
        "remarks": tuple(remarks),
    }
    return Diagnosis(**found, advice=_advice(found))


def _processor() -> Facts:
    (allocator, keeps), load = host.allocator(), host.load_share()
    return {
        "name": host.cpu_name(),
        "instruction_sets": host.instruction_sets(),
        "cpus_allowed": len(host.allowed_cpus()),
        "physical_cores": host.physical_cores(),
        "quota_cpus": host.quota_cpus(),
        "load": load,
        "is_busy": load >= _BUSY_LOAD,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "allocator": allocator,
        "keeps_freed_memory": keeps,
        "keeping_measured": host.KEPT_MEMORY_MEASURED if keeps else None,
    }


def _built_kernels() -> Facts:
    from pictorch.kernels.library import open_kernels  # it needs torch

    start = time.perf_counter()
    opened = open_kernels(may_build=True)
    if isinstance(opened, Unavailable):
        compiler = find_compiler()
        if isinstance(compiler, Unavailable):
            remedy = "install g++ or clang++, or go without: training then takes torch's convolutions"
            raise MissingPartError("", f"a compiler for the kernels ({opened.reason})", remedy)
        raise ResourceError(
            f"the kernels cannot be used, {opened.reason}; name another compiler in CXX, or go without: "
            "training then takes torch's convolutions"
        )
    return _kernels() | {"seconds": time.perf_counter() - start}


def _kernels() -> Facts:
    """Returns what is known of the kernels; their instruction set only torch's self-test can tell."""
    compiler = find_compiler()
    built = present_paths()
    if not built:
        problem = compiler.reason if isinstance(compiler, Unavailable) else None
        return _facts_of_kernels(compiler, None, None, problem)
    try:
        from pictorch.kernels.library import open_kernels
    except (ImportError, OSError):
        return _facts_of_kernels(compiler, built[0], None, None)
    opened = open_kernels(may_build=False)
    if isinstance(opened, Unavailable):
        return _facts_of_kernels(compiler, built[0], None, opened.reason)
    return _facts_of_kernels(compiler, opened.path, opened.instruction_set, None)


def _facts_of_kernels(
    compiler: Compiler | Unavailable, path: Path | None, instruction_set: str | None, problem: str | None
) -> Facts:
    return {
        "built": None if path is None else str(path),
        "in_wheel": path == packaged_path(),
        "instruction_set": instruction_set,
        "compiler": asdict(compiler) if isinstance(compiler, Compiler) else None,
        "problem": problem,
        "seconds": None,  # that building and testing took just now
        "measurements": {} if path is None else measurements.read(times_folder(path)),
    }


def _asked_of_torch() -> tuple[list[Facts], dict[str, Facts], list[str]]:
    """Returns devices, what each `auto` becomes, and remarks; nothing but remarks without torch."""
    if find_spec("torch") is None:
        return [], {}, []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            from pictorch.training.environment import describe_devices
            from pictorch.training.runtime import Choice, resolve_order, resolve_runtime
        except (ImportError, OSError) as error:  # a library of its own that torch does not find
            return [], {}, [f"torch is installed but cannot be loaded: {str(error).splitlines()[0]}"]
        choices = resolve_runtime(TrainSection(epochs=1)).choices
        choices["data.order"] = resolve_order(DataSection(source="digits"))
        devices = describe_devices()
    for path, rule in _auto_fields():
        if path not in choices:
            choices[path] = Choice("from the images", f"auto: {rule}")
    auto = {path: choice.to_json() for path, choice in choices.items()}
    return devices, auto, [" ".join(str(warning.message).split()) for warning in caught]


def _auto_fields() -> list[tuple[str, str]]:
    """Returns the fields of the recipe that are 'auto' unless set, with the rule of their description."""
    return [
        (f"{section}.{key}", (field.description or "").partition("auto: ")[2])
        for section, section_type in SECTIONS.items()
        for key, field in section_type.model_fields.items()
        if default_of(section, key) == "auto"
    ]


def _optional_parts() -> dict[str, list[str]]:
    """Returns for each extra of the package the distributions it asks for that are not installed."""
    parts: dict[str, list[str]] = {}
    for line in requires("pictorch") or []:
        found = re.fullmatch(r"([\w.-]+)[^;]*; extra == [\"'](\w+)[\"']", line)
        if found and found[2] != "dev":
            lacks = parts.setdefault(found[2], [])
            lacks += [found[1]] if _version(found[1]) is None else []
    return parts


def _versions(parts: dict[str, list[str]]) -> dict[str, str | None]:
    lines = [line for line in requires("pictorch") or [] if "extra ==" not in line or "dev" not in line]
    names = [found[0] for line in lines if (found := re.match(r"[\w.-]+", line)) and found[0] != "pictorch"]
    return {name: _version(name) for name in ("pictorch", *dict.fromkeys(names))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _place_of(name: str) -> Facts:
    """Returns where a named source lies, where it was looked for, and what is wrong with it."""
    looked_in: list[str] = []
    try:
        if name != "digits":
            looked_in = [str(folder) for folder in data_folders()]
        source = locate_source(name)
    except UserError as error:
        return {"name": name, "found": None, "looked_in": looked_in, "problem": str(error)}
    return {
        "name": name,
        "found": source.origin if source else None,
        "looked_in": looked_in,
        "problem": None,
    }


def _room(what: str, folder: Path) -> Facts:
    """Returns the space that is free where a folder lies or would lie, and what it takes itself."""
    place = next((place for place in (folder, *folder.absolute().parents) if place.exists()), Path("/"))
    free, taken = shutil.disk_usage(place).free, durable.size_bytes(folder)
    return {"what": what, "folder": str(folder), "free_bytes": free, "taken_bytes": taken}


def _advice(found: Facts) -> str:
    """Returns the most useful sentence for this machine; the first that applies."""
    processor, memory = found["processor"], found["memory"]
    gpus = [device for device in found["devices"] if device["device"] != "cpu"]
    for room in found["disk"]:
        if room["free_bytes"] < _LEAST_DISK_BYTES:
            free = f"{room['free_bytes'] / 1e9:.1f} GB"
            return f"Make room: only {free} are free for the {room['what']} folder {room['folder']}."
    for part in found["parts"]:
        if part["extra"] == "train" and part["missing"]:
            lacks = ", ".join(part["missing"])
            return f"This installation predicts but cannot train, it lacks {lacks}: `{part['install']}`."
    if not found["devices"]:
        return f"Mend torch with `pip install --force-reinstall torch torchvision`: {found['remarks'][0]}."
    if host.has_nvidia_gpu() and not gpus:
        return (
            "An NVIDIA GPU is here but torch cannot use it; its CUDA build comes with "
            "`pip install --force-reinstall torch torchvision`."
        )
    if memory["free_bytes"] is not None and memory["free_bytes"] < _LEAST_MEMORY_BYTES:
        free = f"{memory['free_bytes'] / 1e9:.1f} GB"
        return f"Only {free} of memory are free: train with `--set train.accumulate=4` or end other programs."
    if processor["is_busy"] and not gpus and not _waits_passively():
        return (
            "The machine is busy: put `OMP_WAIT_POLICY=PASSIVE` before a training, which costs 6 to 25 % on "
            "an idle machine and was worth up to 50 times on a busy one (docs/log.md)."
        )
    return _data_advice(found["data"]) or _ready(processor, bool(gpus))


def _waits_passively() -> bool:
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


def _data_advice(data: tuple[Facts, ...]) -> str | None:
    for source in data:
        if source["problem"]:
            return f"Mend the data: {source['problem']}."
    if next(source for source in data if source["name"] == "cifar10")["found"]:
        return None
    if os.environ.get("PICTORCH_OFFLINE", "") not in {"", "0"}:
        return "CIFAR-10 is not here and PICTORCH_OFFLINE forbids to download it: begin with `pictorch demo`."
    return (
        "Begin with `pictorch demo`; CIFAR-10 is not here yet, `pictorch train cifar10-cnn` downloads 170 MB."
    )


def _ready(processor: Facts, has_gpu: bool) -> str:
    """Names the time of the packaged recipe only where it was measured on the same kind of machine."""
    header = recipe_header("cifar10-cnn")
    measured = re.search(r"^time: ([\d,]+) s.* on (\d+) cores of an (.+) \((.*)\)$", header, re.MULTILINE)
    same = (
        measured is not None
        and not has_gpu
        and int(measured[2]) == processor["physical_cores"]
        and measured[3] in processor["name"]
        and ("bf16" in measured[4]) == host.multiplies_bf16()
    )
    if not same or measured is None:
        return "Ready: `pictorch train cifar10-cnn`; its time on such a machine is not measured yet."
    minutes = int(measured[1].replace(",", "")) / 60
    return (
        f"Ready: `pictorch train cifar10-cnn` takes about {minutes:.0f} minutes, as measured on "
        f"{measured[2]} idle cores of an {measured[3]} ({measured[4]})."
    )
