"""Comparisons: settings that are none, folders of something else, a stop."""

import os
import shutil
import signal
import sys

from messages.case import Case, Remedy, again, instead, typed
from messages.faults import patched
from messages.material import bundle, run, speedrun, zoo
from pictorch.benchmarking import served as server
from pictorch.benchmarking import serving
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


def in_small(remedy: Remedy) -> Remedy:
    """The remedy, carried out with few connections and no warm-up."""

    def carry_out(case: Case, message: str) -> None:
        loads = patched(serving, "CONNECTIONS", (1,)), patched(serving, "WARM_UP_REQUESTS", 1)
        with loads[0](), loads[1](), patched(serving, "IN_FLIGHT", 1)():
            remedy(case, message)

    return carry_out


SERVING = "bench serving bundle -q --out tables --seconds 0.05 --requests 1"

# fmt: off
CASES = [
    Case("no seeds", f"{AGAIN} --seeds 0", 2, "--seeds 0", instead(f"{AGAIN} --seeds 1", says="give at least 1"), zoo, slow=True),
    Case("other settings of a comparison", f"{AGAIN} --epochs 7", 2, "--epochs 7: zoo was begun with 2", instead(AGAIN, says="leave out --epochs"), zoo, slow=True),
    Case("comparison in a run", "bench zoo --out run -q", 2, "--out run", instead(AGAIN, says="choose another --out"), lambda: (run(), zoo()), slow=True),
    Case("comparison that is stopped", AGAIN, 130, "stopped by SIGINT", typed(then_again=False), zoo, patched(comparison, "speeds", interrupt)),
    Case("target in percent", "bench speedrun --out speedrun -q --target 94", 2, "--target 94", without_peak(typed()), speedrun),
    Case("target of no recipe", "bench speedrun -q --target 0.99", 2, "--target 0.99", without_peak(instead("bench speedrun small.yaml --out speedrun -q --target 0.99", says="give a RECIPE")), speedrun),
    Case("load of no time", "bench serving bundle -q --seconds 0", 2, "--seconds 0", in_small(instead(SERVING, says="give more than 0")), bundle, slow=True),
    Case("memory over no requests", "bench serving bundle -q --requests 0", 2, "--requests 0", in_small(instead(SERVING, says="give more than 0")), bundle, slow=True),
    Case("server that does not come up", SERVING, 5, "the server does not become ready (out of order)", in_small(again(lambda: shutil.rmtree("tables"))), bundle, patched(server, "PROGRAM", (sys.executable, "-c", "print('out of order')")), makes=("tables",), slow=True),
]
# fmt: on
