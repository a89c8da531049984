"""SIGINT and SIGTERM as a request that the loop answers at the end of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Holds the number of the signal that asked for a stop, None before one came."""

    def __init__(self) -> None:
        self.signal_number: int | None = None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yields the request; the first signal sets it, a second one ends the process at once.

    Outside the main thread, where Python delivers no signals, it is never set.
    """
    request = StopRequest()
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
