"""Which process takes itself for one of a group, by what whoever started it says in the environment."""

import json
import socket
import time

import pytest

from pictorch import cli
from pictorch.errors import MissingPartError, RecipeError, SaidElsewhereError
from pictorch.evaluation.evaluate import evaluate
from pictorch.training.console import Console
from pictorch.training.group import ALONE
from pictorch.training.joining import joined
from pictorch.training.start import train

PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}


def started(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", *PLACE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "3"},  # of a scheduler that counts its jobs
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "1", "WORLD_SIZE": "", **PLACE},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", **PLACE},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", **PLACE},
    ],
    ids=str,
)
def test_a_process_without_a_group_is_alone(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, **environment)
    with joined() as group:
        assert group is ALONE


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WORLD_SIZE": "2", **PLACE}, "WORLD_SIZE is 2, but RANK is not set; "),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "but MASTER_ADDR, MASTER_PORT are not set; "),
        ({"RANK": "0", "WORLD_SIZE": "two", **PLACE}, "WORLD_SIZE two is not a number; "),
        ({"RANK": "0", "WORLD_SIZE": "2", **PLACE, "MASTER_PORT": "x"}, "MASTER_PORT x is not a number; "),
        ({"RANK": "0", "WORLD_SIZE": "2", **PLACE, "LOCAL_RANK": "a"}, "LOCAL_RANK a is not a number; "),
        ({"RANK": "2", "WORLD_SIZE": "2", **PLACE}, "RANK 2 is not one of WORLD_SIZE 2, "),
    ],
)
def test_half_a_group_is_refused(
    environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, **environment)
    with pytest.raises(RecipeError, match=says), joined():
        pass


def test_the_first_process_of_a_host_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for local_rank in ("0", "1"):
        started(monkeypatch, RANK=local_rank, WORLD_SIZE="2", LOCAL_RANK=local_rank)
        assert cli.main(["train", "digits", "-q"]) == 2
        said[local_rank] = capsys.readouterr().err
    assert said["0"].count("\n") == 1
    assert said["1"] == ""
    assert slept == [5], "torchrun kills the first one where the other ends before it has spoken"
    with pytest.raises(SaidElsewhereError), joined():
        pass


def test_a_part_that_is_missing_is_named_by_one_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line prints an import that failed before the processes met in the first of a host only."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started(monkeypatch, RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with pytest.raises(MissingPartError, match="onnx is not installed"), joined():
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")


def test_in_python_the_first_process_judges_what_all_have_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    train("digits", out="run", epochs=0.1, set={"train.threads": 1}, console=Console("quiet"))
    started(monkeypatch, RANK="0", WORLD_SIZE="2", TORCHELASTIC_RUN_ID="job")
    assert evaluate("run").n > 0
    assert cli.main(["evaluate", "run"]) == 2


def test_a_rank_without_a_group_hides_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(monkeypatch, RANK="3", LOCAL_RANK="3")
    words = ["train", "digits", "--out", "run", "-q", "--json", "--epochs", "0.1", "--set", "train.threads=1"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "run"
    assert cli.main(["train", "digits", "--sed", "1"]) == 2
    assert "'--sed'" in capsys.readouterr().err
