"""The server on a free port, in a thread of the test or as the command in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from pictorch.serving import process
from pictorch.serving.limits import Limits
from pictorch.serving.process import Server, listen


@dataclass
class Running:
    """`pictorch serve` in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def memory_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def in_thread(bundle: Path, limits: Limits | None = None) -> Iterator[Server]:
    """Yields a server of this process that is ready, and ends it."""
    server = listen(bundle, "127.0.0.1", 0, limits or Limits())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield server
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "_DRAIN_SECONDS", 0.0)  # nobody comes back on a connection that was kept
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


@contextmanager
def in_process(bundle: Path, log: Path, *options: str) -> Iterator[Running]:
    """Yields the command, ready, with its stderr in `log`; ends it where the test has not."""
    command = [sys.executable, "-W", "error", "-m", "pictorch", "serve", str(bundle), "--port", "0", "--json"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        running = Running(process, int(json.loads(line)["url"].rpartition(":")[2]), log)
        urlopen(f"{running.url}/v2/health/ready").close()
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
