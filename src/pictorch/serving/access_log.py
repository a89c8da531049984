"""The access log: lines on stderr, written together by a thread of their own, so that no answer waits."""

import logging
import sys
import threading
import time
from collections import deque

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
        """Writes what has come together; Python calls it a last time at its end."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            print(*lines, sep="\n", file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Lets every request be a line on stderr from now on."""
    lines = _Lines()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(lines)
    LOG.setLevel(logging.INFO)

    def write() -> None:
        while True:
            time.sleep(_EVERY_SECONDS)
            lines.flush()

    threading.Thread(target=write, name="access log", daemon=True).start()
