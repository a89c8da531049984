"""The host as the kernel describes it: processor, cores, allocator, load, memory; without torch."""

import ctypes
import os
import platform
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 2**20

_CGROUP = Path("/sys/fs/cgroup")
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_OTHER_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")

KEPT_MEMORY_MEASURED = (
    "1.3 times the images/s for cifar10_cnn, up to 15 % fewer for simple_net (2 cores of an AMD EPYC, "
    "Zen 4; docs/log.md)"
)


def cpu_name() -> str:
    """Returns the processor's name, its kind where the system does not tell the name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def multiplies_bf16() -> bool:
    """Returns whether the CPU has instructions that multiply bf16; emulation is slower than float32."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(instruction_sets())


def instruction_sets() -> list[str]:
    """Returns which of the instruction sets that matter to training the processor says it has."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return []
    return [name for name in _INSTRUCTION_SETS if name in flags]


def physical_cores() -> int:
    """Returns the number of physical cores that this process may use, at least 1."""
    return _within_quota(len({_core_of(cpu) for cpu in allowed_cpus()}))


def usable_cpus() -> int:
    """Returns the number of logical CPUs that this process can keep busy, at least 1."""
    return _within_quota(len(allowed_cpus()))


def allowed_cpus() -> list[int]:
    """Returns the logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def quota_cpus() -> float | None:
    """Returns the CPUs that a container's quota allows (cgroup v2), None where there is none."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def is_first_process(of: str = "RANK") -> bool:
    """Returns whether a process is alone or the first of its group, with LOCAL_RANK the first on its host."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get(of, "0") == "0"


def torchrun_processes() -> int:
    """Returns how many processes torchrun started, of which this is one; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def process_mark(pid: int) -> str:
    """Returns what tells a process from all others of this host: its number and, where known, its start."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = ""
    return f"{pid}-{started}"


def load_share() -> float:
    """Returns the load of the last minute per CPU of the machine: 1 keeps every CPU busy."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def worked_seconds() -> float | None:
    """Returns the seconds that all CPUs of the machine have worked since its start, for whichever program.

    A guest's CPU that the host gave to others counts as working. None where the system does not tell.
    """
    try:
        fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, stolen = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def allocator() -> tuple[str, bool]:
    """Returns the allocator's name, and whether `keep_freed_memory` has an effect on it."""
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text()
        for name in _OTHER_ALLOCATORS:
            if name in maps:
                return name, False
    library, version = platform.libc_ver()
    if sys.platform.startswith("linux") and library == "glibc":
        return f"glibc {version}", True
    return f"the C library of {platform.system()}", False


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks, so that activations are not mapped and zeroed at every step.

    What it is worth stands in KEPT_MEMORY_MEASURED. Elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)


def memory_bytes() -> tuple[int | None, int | None]:
    """Returns the memory that this process may use and what of it is free, as far as known.

    A container's limit (cgroup v2) counts where it is smaller than the machine.
    """
    total, free = _meminfo("MemTotal"), _meminfo("MemAvailable")
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return total, free
    left = max(0, limit - used)
    return min(limit, total or limit), min(left, left if free is None else free)


def peak_process_bytes() -> int:
    """Returns the largest resident memory that this program has had.

    Linux's getrusage counts what the process held before it became this program, as its parent's copy.
    """
    try:
        high_water = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
        return int(high_water[0]) * 1024
    except (OSError, IndexError):
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def has_nvidia_gpu() -> bool:
    """Returns whether an NVIDIA driver offers a device here, whatever torch can use."""
    return Path("/dev/nvidia0").exists()


def _within_quota(cpus: int) -> int:
    quota = quota_cpus()
    return max(1, cpus if quota is None else min(cpus, int(quota)))


def _meminfo(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _core_of(cpu: int) -> tuple[str, str]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (topology / "physical_package_id").read_text(), (topology / "core_id").read_text()
    except OSError:
        return "", str(cpu)
