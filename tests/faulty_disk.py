"""A disk one of whose operations fails, or kills the process, for the tests of durable writing."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

OPERATIONS = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


class FaultyDisk:
    """Counts file operations; the n-th and, where asked, all after it come to `happen`."""

    def __init__(self, fault_at: int, happen: Callable[[str], None], for_ever: bool = False) -> None:
        self.count = 0
        self.names: list[str] = []
        self._fault_at, self._happen, self._for_ever = fault_at, happen, for_ever

    def operation(self, name: str, half_done: Callable[[], None] = lambda: None) -> None:
        self.count += 1
        self.names.append(name)
        if self.count == self._fault_at or (self._for_ever and self.count > self._fault_at):
            half_done()
            self._happen(name)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        real_open = Path.open

        def counted(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                self.operation(name)
                return real(*args, **kwargs)

            return call

        def open_path(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            self.operation(f"open {mode}")
            file = real_open(path, mode, *args, **kwargs)
            return file if mode == "rb" else TornFile(file, self)

        operations = mock.patch.multiple(os, **{name: counted(name) for name in OPERATIONS})
        with mock.patch.object(Path, "open", open_path), operations:
            yield


class TornFile:
    """A file each of whose writes is an operation; one that fails has written half of its bytes."""

    def __init__(self, file: Any, disk: FaultyDisk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "TornFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        def half_done() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._disk.operation("write", half_done)
        return int(self._file.write(data))
