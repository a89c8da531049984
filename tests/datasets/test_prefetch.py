"""Work done ahead by one thread: the same results, its errors where they are asked for, no thread left."""

import threading

import pytest

from pictorch.datasets.prefetch import Prefetcher


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


def test_results_are_those_of_the_work_in_any_order() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number * number

    with Prefetcher(work) as prefetcher:
        assert [prefetcher.result(n, [n + 1, n + 2]) for n in range(4)] == [0, 1, 4, 9]
        assert prefetcher.result(9, []) == 81
        assert prefetcher.result(2, [3]) == 4
        assert prefetcher.result(3, []) == 9
        assert len(threads()) == 1
    assert threads() == []
    assert done[:4] == [0, 1, 2, 3]
    assert done.count(0) == done.count(1) == 1, "nothing that follows is done twice"


def test_it_works_ahead_of_what_is_asked_for() -> None:
    ahead = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            ahead.set()
        return number

    with Prefetcher(work) as prefetcher:
        assert prefetcher.result(0, [1, 2]) == 0
        assert ahead.wait(30)


def test_an_error_comes_where_its_result_is_asked_for_and_ends_the_thread() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise MemoryError("of two")
        return number

    with Prefetcher(work) as prefetcher:
        assert prefetcher.result(0, [1, 2]) == 0
        assert prefetcher.result(1, [2, 3]) == 1
        with pytest.raises(MemoryError, match="of two"):
            prefetcher.result(2, [3])
    assert threads() == []


def test_the_end_waits_for_no_more_than_the_work_in_hand() -> None:
    begun, may_end = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> int:
        if number == 1:
            begun.set()
            may_end.wait(30)
        done.append(number)
        return number

    def interrupted() -> None:
        with Prefetcher(work) as prefetcher:
            prefetcher.result(0, [1, 2, 3])
            begun.wait(30)
            threading.Timer(0.05, may_end.set).start()
            raise KeyError("something else")

    with pytest.raises(KeyError, match="something else"):
        interrupted()
    assert done == [0, 1]
    assert threads() == []
