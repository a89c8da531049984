"""Faults of the world around pictorch that last while a command runs: real ones where they can be had."""

import ctypes
import fcntl
import http.server
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

Fault = Callable[[], AbstractContextManager[object]]

_CAPABILITY_VERSION = 0x20080522
_READ_AND_WRITE_ANYTHING = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def patched(target: Any, name: str, value: Any) -> Fault:
    """Replaces an attribute: for what no test can have, such as files of 3 GB."""

    @contextmanager
    def fault() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, value)
            yield

    return fault


def environment(**values: str) -> Fault:
    """Sets environment variables."""

    @contextmanager
    def fault() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            yield

    return fault


def not_installed(*modules: str, gone: str = "") -> Fault:
    """Makes imports of the modules fail as where they are not installed, and lets `gone` be imported anew."""

    @contextmanager
    def fault() -> Iterator[None]:
        import sys

        with pytest.MonkeyPatch.context() as patch:
            for module in modules:
                patch.setitem(sys.modules, module, None)
            patch.delitem(sys.modules, gone, raising=False)
            yield

    return fault


@contextmanager
def ordinary_rights() -> Iterator[None]:
    """Takes from root, for this thread and those it starts, the right to read and write everything."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if os.geteuid() != 0 or libc.capget(header, sets):
        yield
        return
    effective = sets[0]
    sets[0] = effective & ~_READ_AND_WRITE_ANYTHING
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0


def full_disk(largest_bytes: int) -> Fault:
    """Lets no file grow beyond a size: the kernel refuses as it does on a full disk."""

    @contextmanager
    def fault() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return fault


def locked(path: str) -> Fault:
    """Holds a file as another process would: locks belong to the opening, not to the process."""

    @contextmanager
    def fault() -> Iterator[None]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    return fault


@contextmanager
def mirror(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yields the address of a server on this machine that answers every GET with `answer`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
