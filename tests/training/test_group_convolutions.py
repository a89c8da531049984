"""Two processes train with the same kernels, the first one's choice, or both with torch's convolutions."""

import re
from pathlib import Path
from typing import Any

import pytest

from grouped_trainings import train_in_group
from pictorch.durable import file_sha256
from pictorch.kernels.building import Unavailable, find_compiler
from pictorch.kernels.library import Kernels, open_kernels
from pictorch.run_folder import RunFolder
from run_bytes import differing

pytestmark = pytest.mark.slow
Answers = list[dict[str, Any]]

TRAIN = {"epochs": 2, "batch_size": 208, "precision": "float32", "threads": 1, "log_every_steps": 1}


def recipe(kernels: str) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"source": "digits"},
        "model": {"name": "cifar10_cnn"},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "train": {**TRAIN, "kernels": kernels},
    }


OWN, AUTO = recipe("own"), recipe("auto")
NONE = {"CXX": "nothing-there", "XDG_CACHE_HOME": "none"}
OTHER = {"XDG_CACHE_HOME": "other"}
JOBS: dict[str, dict[str, Any]] = {
    "own": {"recipe": OWN, "out": "own"},
    "stopped": {"recipe": OWN, "out": "stopped", "term_at": 9},
    "resumed": {"resume": "stopped"},
    "chosen": {"recipe": AUTO, "out": "chosen", "seems_long": True},
    "chosen, one has none": {"recipe": AUTO, "out": "one-none", "seems_long": True, "environment": NONE},
    "chosen, one has another": {
        "recipe": AUTO,
        "out": "another",
        "seems_long": True,
        "environment": OTHER,
    },
    "own, one has none": {"recipe": OWN, "out": "refused", "environment": NONE},
    "own, one has another": {"recipe": OWN, "out": "refused", "environment": OTHER},
    "own, the first has none": {"recipe": OWN, "out": "refused", "environment": NONE, "rank": 0},
    "begun": {"recipe": OWN, "out": "begun", "term_at": 9},
    "resumed, one has none": {"resume": "begun", "environment": NONE},
}
Two = tuple[Path, Kernels, dict[str, Answers]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Two:
    """Where the runs are, the kernels of both processes, and what they answered to each job.

    Those that another compiler made are played by the same ones with a byte more.
    """
    if isinstance(found := find_compiler(), Unavailable):
        pytest.skip(f"no kernels: {found.reason}")
    place = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        kernels = open_kernels(may_build=True)
        assert isinstance(kernels, Kernels), kernels
        other = place / "other" / kernels.path.relative_to(cache_home)
        other.parent.mkdir(parents=True)
        other.write_bytes(kernels.path.read_bytes() + b" ")
        other.with_suffix(".sha256").write_text(file_sha256(other))
        return place, kernels, dict(zip(JOBS, train_in_group(list(JOBS.values()), place), strict=True))


@pytest.mark.parametrize("job", ["own", "resumed", "chosen"])
def test_both_have_the_first_ones_kernels(two: Two, job: str) -> None:
    place, kernels, answers = two
    first, second = answers[job]
    assert first["seen"] == second["seen"]
    used = first["seen"]["convolutions"]
    assert (len(used["layers"]), used["build"]) == (4, kernels.build)
    run = RunFolder(place / JOBS[job].get("out", "stopped"))
    assert run.environment()["convolutions"] == used
    assert "in all processes" not in run.log_path.read_text()


def test_resumed_is_as_not_stopped(two: Two) -> None:
    assert differing(two[0] / "own", two[0] / "stopped") == []
    assert "bit-exact" not in (two[0] / "stopped/log.txt").read_text()


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        ("chosen, one has none", r"the run's own kernels cannot be had, CXX=nothing-there is no C\+\+ "),
        ("chosen, one has another", r"its convolutions are own for 4 layers \(\w+, build \w+\), the first"),
    ],
)
def test_where_one_cannot_follow_both_take_torchs(two: Two, job: str, fault: str) -> None:
    place, _, answers = two
    first, second = answers[job]
    assert first["seen"] == second["seen"]
    assert first["seen"]["convolutions"] is None
    run = RunFolder(place / JOBS[job]["out"])
    said = re.findall(r"^kernels .*", run.log_path.read_text(), re.MULTILINE)
    assert len(said) == 1
    assert said[0].startswith("kernels torch's own in all processes, since process 1 on ")
    assert re.search(fault, said[0])
    assert run.environment()["auto"]["train.kernels"] == {
        "value": "library",
        "reason": "auto: process 1 does not have the first one's kernels",
        "measured": "not measured",
    }


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("own, one has none", r"process 1 on \S+: the run's own kernels cannot be had, CXX=nothing-there"),
        ("own, one has another", r"process 1 on \S+: its convolutions are own for 4 layers \(\w+, build \w+"),
        ("own, the first has none", r"own is not available here, CXX=nothing-there is no C\+\+ compiler"),
    ],
)
def test_where_they_are_asked_for_one_says_that_it_cannot(two: Two, job: str, says: str) -> None:
    place, _, answers = two
    assert [answer["exit_code"] for answer in answers[job]] == [2, 2]
    (own,) = [answer for answer in answers[job] if answer["error"] != "SaidElsewhereError"]
    assert re.search(says, own["says"])
    assert own["says"].endswith("; give `--set train.kernels=library`")
    assert not (place / "refused").exists()


def test_a_run_whose_kernels_one_has_lost_goes_on_with_torchs(two: Two) -> None:
    place, _, answers = two
    first, second = answers["resumed, one has none"]
    assert first["seen"] == second["seen"]
    assert (first["seen"]["convolutions"], first["seen"]["step"]) == (None, 14)
    run = RunFolder(place / "begun")
    said = run.log_path.read_text()
    assert "kernels torch's own in all processes, since process 1 on " in said
    assert re.search(
        r"not be bit-exact: convolutions: own for 4 layers \(.*\) -> torch's$", said, re.MULTILINE
    )
    assert run.environment()["convolutions"] is None
