"""Signals as a request; the second one ends the process, and the old handlers come back."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pictorch.training.group import Group
from pictorch.training.signals import StopRequest, stop_requests

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with stop_requests() as request:
        assert request.signal_number is None
        os.kill(os.getpid(), number)
        assert request.signal_number == number
        assert [signal.getsignal(each) for each in BOTH] == [signal.SIG_DFL, signal.SIG_DFL]
    assert [signal.getsignal(each) for each in BOTH] == before


def test_the_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with pytest.raises(KeyError), stop_requests():
        raise KeyError
    assert [signal.getsignal(each) for each in BOTH] == before


STUBBORN = """
import time
from pictorch.training.signals import stop_requests
with stop_requests() as request:
    print("ready", flush=True)
    while request.signal_number is None:
        time.sleep(0.001)
    print("noted", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_the_second_signal_ends_the_process(first: signal.Signals, second: signal.Signals) -> None:
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "noted\n"
        process.send_signal(second)
        assert process.wait(timeout=30) == -second


def test_in_a_group_the_second_signal_changes_nothing() -> None:
    with stop_requests(group=Group(is_joined=True)) as request:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.signal_number == signal.SIGTERM


def test_outside_the_main_thread_nothing_is_touched() -> None:
    before = [signal.getsignal(each) for each in BOTH]
    seen: list[tuple[StopRequest, bool]] = []

    def work() -> None:
        with stop_requests() as request:
            seen.append((request, [signal.getsignal(each) for each in BOTH] == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [(request.signal_number, untouched) for request, untouched in seen] == [(None, True)]
