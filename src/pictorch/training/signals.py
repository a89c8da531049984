"""What stops a training early, as a request that the loop answers at the end of a step."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A signal that came, or a time (of time.monotonic) that is over."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.signal_number: int | None = None
        self._deadline = deadline

    @property
    def cause(self) -> str | None:
        """Who asks for a stop: 'SIGINT', 'SIGTERM', the recipe's 'max_minutes', or nobody yet."""
        if self.signal_number is not None:
            return signal.Signals(self.signal_number).name
        return "max_minutes" if time.monotonic() >= self._deadline else None


@contextmanager
def stop_requests(deadline: float = math.inf) -> Iterator[StopRequest]:
    """Yields the request; the first signal sets it, a second one ends the process at once.

    Outside the main thread, where Python delivers no signals, only the deadline can.
    """
    request = StopRequest(deadline)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
