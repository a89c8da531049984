"""What stops a training early, as a request that the loop answers at the end of a step."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pictorch.training.group import ALONE, Group

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DEADLINE = 1  # stands beside the numbers of signals, of which the largest that a process has counts


class StopRequest:
    """A signal that came, or a time (of time.monotonic) that is over."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.signal_number: int | None = None
        self._deadline = deadline
        self._agreed: int | None = None

    def agree(self, group: Group, is_due: bool) -> bool:
        """Gives all processes the cause that one of them has; returns what the first one has for `is_due`.

        In a group this is the only place where a cause comes up, so that all stop after the same step.
        """
        if not group.is_joined:
            return is_due
        own = self.signal_number or (_DEADLINE if time.monotonic() >= self._deadline else 0)
        self._agreed, due = group.largest(own, is_due and group.is_first)
        if self._agreed > _DEADLINE:
            self.signal_number = self._agreed
        return bool(due)

    @property
    def cause(self) -> str | None:
        """Who asks for a stop: 'SIGINT', 'SIGTERM', the recipe's 'max_minutes', or nobody yet."""
        if self._agreed is not None:
            return _name(self._agreed)
        if self.signal_number is not None:
            return signal.Signals(self.signal_number).name
        return "max_minutes" if time.monotonic() >= self._deadline else None


def _name(agreed: int) -> str | None:
    if agreed > _DEADLINE:
        return signal.Signals(agreed).name
    return "max_minutes" if agreed else None


@contextmanager
def stop_requests(deadline: float = math.inf, group: Group = ALONE) -> Iterator[StopRequest]:
    """Yields the request; the first signal sets it, a second one ends the process at once.

    Not in a group: Slurm, for one, sends its signal to each process and to torchrun, which hands it on and
    kills what does not end.
    Outside the main thread, where Python delivers no signals, only the deadline can.
    """
    request = StopRequest(deadline)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        for each in () if group.is_joined else _SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
