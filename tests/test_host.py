"""What the kernel tells about the host, and what its allocator is asked."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictorch import host
from pictorch.host import (
    keep_freed_memory,
    multiplies_bf16,
    peak_process_bytes,
    physical_cores,
    usable_cpus,
    worked_seconds,
)


def test_glibc_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert dict(calls) == {-4: 0, -1: -1, -2: 64 * 2**20}
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: object())  # a C library without it
    keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(host.ctypes, "CDLL", None)
    keep_freed_memory()
    assert len(calls) == 3


@pytest.fixture
def system_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of /proc and /sys that there are: none, until a test puts some in."""
    files: dict[str, str] = {}
    real = Path.read_text

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        if not str(path).startswith(("/proc/", "/sys/")):
            return real(path, *args, **kwargs)
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    return files


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\nbugs\t: x\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16x\nvmx flags: avx512_bf16\n", False),
        ("Features\t: fp asimd bf16\n", False),
    ],
)
def test_bf16_is_seen_in_the_flags(system_files: dict[str, str], cpuinfo: str, expected: bool) -> None:
    assert not multiplies_bf16()
    system_files["/proc/cpuinfo"] = cpuinfo
    assert multiplies_bf16() == expected


def test_this_machine_has_a_core() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


@pytest.fixture
def four_cpus_on_two_cores(system_files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for cpu in range(4):
        topology = f"/sys/devices/system/cpu/cpu{cpu}/topology"
        system_files[f"{topology}/physical_package_id"] = "0\n"
        system_files[f"{topology}/core_id"] = f"{cpu % 2}\n"
    return system_files


@pytest.mark.parametrize(
    ("quota", "cores", "cpus"),
    [
        (None, 2, 4),
        ("max 100000\n", 2, 4),
        ("400000 100000\n", 2, 4),
        ("300000 100000\n", 2, 3),
        ("150000 100000\n", 1, 1),
        ("50000 100000\n", 1, 1),
        ("strange\n", 2, 4),
    ],
)
def test_hyperthreads_and_quotas(
    four_cpus_on_two_cores: dict[str, str], quota: str | None, cores: int, cpus: int
) -> None:
    if quota is not None:
        four_cpus_on_two_cores["/sys/fs/cgroup/cpu.max"] = quota
    assert (physical_cores(), usable_cpus()) == (cores, cpus)


def test_two_sockets(four_cpus_on_two_cores: dict[str, str]) -> None:
    for cpu in (2, 3):
        four_cpus_on_two_cores[f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"] = "1\n"
    assert physical_cores() == 4


def test_only_what_is_allowed_counts(
    four_cpus_on_two_cores: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    assert physical_cores() == 1


def test_without_a_topology_each_cpu_is_a_core(
    system_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert physical_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert physical_cores() == 1


def test_what_all_cpus_worked(system_files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is none of it; a guest's time is in its user's already."""
    assert worked_seconds() is None
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    system_files["/proc/stat"] = "cpu  100 200 300 9000 9000 400 500 600 700 800\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert worked_seconds() == 21.0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the program alone")
def test_peak_memory_is_the_programs_own_not_its_parents() -> None:
    held = np.ones(60_000_000)  # 480 MB
    code = "from pictorch.host import peak_process_bytes; print(peak_process_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5e6 < int(child.stdout) < held.nbytes
    assert held.nbytes < peak_process_bytes()
