"""Comparisons: settings that are none, folders of something else, a stop."""

import os
import signal

from messages.case import Case, Remedy, instead, typed
from messages.faults import patched
from messages.material import run, speedrun, zoo
from pictorch.benchmarking import speedrun as race
from pictorch.benchmarking import zoo as comparison

AGAIN = "bench zoo --out zoo -q"


def interrupt(*unused: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def without_peak(remedy: Remedy) -> Remedy:
    """The remedy, carried out without the seconds that the machine's peak takes."""

    def carry_out(case: Case, message: str) -> None:
        with patched(race, "measured_peak", lambda *unused: 1e12)():
            remedy(case, message)

    return carry_out


# fmt: off
CASES = [
    Case("no seeds", f"{AGAIN} --seeds 0", 2, "--seeds 0", instead(f"{AGAIN} --seeds 1", says="give at least 1"), zoo),
    Case("other settings of a comparison", f"{AGAIN} --epochs 7", 2, "--epochs 7: zoo was begun with 2", instead(AGAIN, says="leave out --epochs"), zoo),
    Case("comparison in a run", "bench zoo --out run -q", 2, "--out run", instead(AGAIN, says="choose another --out"), lambda: (run(), zoo())),
    Case("comparison that is stopped", AGAIN, 130, "stopped by SIGINT", typed(then_again=False), zoo, patched(comparison, "speeds", interrupt)),
    Case("target in percent", "bench speedrun --out speedrun -q --target 94", 2, "--target 94", without_peak(typed()), speedrun),
    Case("target of no recipe", "bench speedrun -q --target 0.99", 2, "--target 0.99", without_peak(instead("bench speedrun small.yaml --out speedrun -q --target 0.99", says="give a RECIPE")), speedrun),
]
# fmt: on
