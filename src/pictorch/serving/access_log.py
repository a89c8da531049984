"""The access log: lines on stderr, written together by a thread of their own, so that no answer waits."""

import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("pictorch.serving")

_EVERY_SECONDS = 0.1
_MOST_LINES = 100_000  # that wait for a reader of stderr which has stopped


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def flush(self) -> None:
        """Writes what has come together."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            print(*lines, sep="\n", file=sys.stderr, flush=True)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Lets every request be a line on stderr while it lasts."""
    lines, ended = _Lines(), threading.Event()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def write() -> None:
        while not ended.wait(_EVERY_SECONDS):
            lines.flush()

    thread, level = threading.Thread(target=write, name="access log", daemon=True), LOG.level
    LOG.addHandler(lines)
    LOG.setLevel(logging.INFO)
    thread.start()
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(lines)
        ended.set()
        thread.join()
        lines.flush()
