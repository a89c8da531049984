"""What a result depends on besides recipe, data and seed: versions, processor, threads, settings."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from pictorch.host import cpu_name
from pictorch.kernels.layers import OwnConvolutions
from pictorch.training.group import ALONE, Group
from pictorch.training.runtime import Runtime

PACKAGES = ("numpy", "pillow", "scikit-learn", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime")

# A different value of one of these can change the last bits of a training.
_EXACTNESS = ("pictorch", "cpu", "device", "device_name", "threads", "cpu_capability")


def describe_environment(runtime: Runtime, group: Group = ALONE) -> dict[str, Any]:
    """Returns the record of environment.json; no path, user or host name is in it."""
    return {
        "pictorch": _version("pictorch"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "device": runtime.device.type,
        "device_name": torch.cuda.get_device_name(runtime.device)
        if runtime.device.type == "cuda"
        else cpu_name(),
        "threads": runtime.threads,
        "processes": group.world,
        **({"launch": list(group.launch)} if group.is_joined else {}),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "convolutions": runtime.convolutions.to_json(),
        "packages": {name: _version(name) for name in PACKAGES},
        "auto": {field: choice.to_json() for field, choice in runtime.choices.items()},
    }


def describe_devices() -> list[dict[str, Any]]:
    """Returns what torch can train on: device, name, capability, and memory where it has its own."""
    capability = torch.backends.cpu.get_cpu_capability()
    devices: list[dict[str, Any]] = [{"device": "cpu", "name": cpu_name(), "capability": capability}]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": gpu.name,
                "capability": f"{gpu.major}.{gpu.minor}",
                "memory_bytes": gpu.total_memory,
            }
        )
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU", "capability": "Metal"})
    return devices


def inexactness(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns each difference that keeps a resumed run from being bit-exact, as 'what: old -> new'."""
    pairs = [(name, before.get(name), now[name]) for name in _EXACTNESS]
    pairs += [("processes", before.get("processes", 1), now["processes"])]
    pairs += [
        (name, before.get("packages", {}).get(name), now["packages"][name])
        for name in ("numpy", "torch", "torchvision")
    ]
    pairs += [
        (field, before.get("auto", {}).get(field, {}).get("value"), choice["value"])
        for field, choice in now["auto"].items()
        # A run keeps its order, and a graph is for CUDA, where bits are not promised.
        if field not in ("train.device", "train.threads", "train.cuda_graph", "train.kernels", "data.order")
    ]
    then, here = (OwnConvolutions.recorded(one.get("convolutions")).told() for one in (before, now))
    pairs.append(("convolutions", then, here))
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
