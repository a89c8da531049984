"""`pictorch serve` as a process of its own, from its command until it has ended."""

import http.client
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pictorch.errors import ResourceError

PROGRAM = (sys.executable, "-m", "pictorch", "serve")

_MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """A server that is ready: its port on 127.0.0.1, its process, and how long its start took."""

    port: int
    process_id: int
    ready_seconds: float

    def memory_bytes(self, name: str = "VmRSS") -> int | None:
        """Returns its resident memory, with 'VmHWM' the most that it had; None where it cannot be read."""
        try:
            status = Path(f"/proc/{self.process_id}/status").read_text()
        except OSError:
            return None
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024


@contextmanager
def served(bundle: Path, log: Path, max_in_flight: int) -> Iterator[Served]:
    """Serves a bundle on a free port, its output in `log`, and ends it; raises ResourceError."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    with log.open("wb") as output:
        command = [*PROGRAM, str(bundle), "--port", str(port), "--max-in-flight", str(max_in_flight)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - started > _MOST_SECONDS:
                said = log.read_text(errors="replace").strip().rpartition("\n")[2][:80]
                raise ResourceError(
                    f"the server does not become ready ({said}); see why with "
                    f"`pictorch serve {shlex.quote(str(bundle))}`"
                )
            time.sleep(0.01)
        yield Served(port, process.pid, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
