"""Several processes under torchrun train as one does: same losses, same end, one voice."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from grouped_trainings import torchrun, train_in_group
from made_data import write_classes
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.followed_run import FollowedRun
from pictorch.training.group import NO_LAUNCH, Launch
from pictorch.training.start import train
from stopped_run import stopped_copy

pytestmark = pytest.mark.slow
QUIET = Console("quiet")
Answers = list[dict[str, Any]]


def recipe(name: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """Digits in 7 steps of 208 an epoch, 1,457 images; sections are added to."""
    base: dict[str, dict[str, Any]] = {
        "data": {"source": "digits"},
        "model": {"name": "simple_net"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "constant"},
        "train": {"epochs": 2, "batch_size": 208, "precision": "float64", "threads": 1, "log_every_steps": 1},
    }
    for section, values in sections.items():
        base[section] = {**base.get(section, {}), **values}
    return {"name": name, **base}


NORMS = {"name": "cifar10_cnn", "dropout": 0.0}
# 56 steps of parts of batches, with everything that a batch goes through.
PLAIN = recipe(
    "plain",
    augment={"crop_padding": 1, "flip": "random", "mixup": 0.4, "cutout": 2},
    loss={"class_weights": {"1": 3.0, "8": 0.25}, "label_smoothing": 0.1, "l1": 1e-5},
    train={"epochs": 8, "accumulate": 2, "clip_norm": 0.5},
)
FEW = recipe(
    "few",
    augment={"crop_padding": 1, "flip": "random", "mixup": 0.4, "cutout": 2},
    train={"accumulate": 2, "clip_norm": 0.5},
)
NORMED = recipe(
    "normed", model=NORMS, train={"ema_decay": 0.9, "accumulate": 2, "batch_norm": "synchronized"}
)
SINGLE = recipe("single", train={"precision": "float32", "early_stop_epochs": 1, "epochs": 30})
OWN_STATISTICS = recipe("own-statistics", model=NORMS, train={"batch_norm": "per_process"})
THAWED = recipe(
    "thawed",
    model=NORMS,
    train={"freeze": ["backbone"], "unfreeze_epoch": 1, "ema_decay": 0.9, "batch_norm": "synchronized"},
)
HALF = recipe("half", train={"precision": "fp16", "epochs": 1})
DRAWN = recipe(
    "drawn", model={"name": "cifar10_cnn", "dropout": 0.5}, train={"epochs": 0.3, "max_minutes": 1e-9}
)
TOO_FAST = recipe("too-fast", optimizer={"lr": 1e200})
# Of 18 images of noise, three are for validation.
PHOTOS = recipe("photos", data={"source": "photos"}, train={"batch_size": 8, "epochs": 2})
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"recipe": PLAIN, "out": "plain"},
    "few": {"recipe": FEW, "out": "few"},
    "photos": {"recipe": PHOTOS, "out": "of-photos"},
    "normed": {"recipe": NORMED, "out": "normed"},
    "single": {"recipe": SINGLE, "out": "single"},
    "own": {"recipe": OWN_STATISTICS, "out": "own"},
    "thawed": {"recipe": THAWED, "out": "thawed"},
    "half": {"recipe": HALF, "out": "half"},
    "in time": {"recipe": DRAWN, "out": "in-time"},
    "stopped": {"recipe": PLAIN, "resume": "stopped", "term_at": 9},
    "resumed": {"recipe": PLAIN, "resume": "stopped"},
    "begun by one": {"resume": "from-one"},
    "stopped for one": {"recipe": NORMED, "out": "for-one", "term_at": 9, "rank": 0},
    "failed": {"recipe": PLAIN, "out": "failed", "fail_at": 3},
    "diverged": {"recipe": TOO_FAST, "out": "diverged"},
    "another recipe": {"recipe": PLAIN, "out": "another", "set": ["train.epochs=9"]},
    "other images": {"recipe": PHOTOS, "out": "elsewhere", "set": ["data.source=others"]},
    "images of one only": {"recipe": PHOTOS, "out": "nowhere", "set": ["data.source=nowhere"]},
    "images that changed": {"resume": "for-one", "data": "photos"},
    "another command": {"recipe": PLAIN, "resume": "never", "lacks": ["recipe"]},
    "other epochs": {"resume": "for-one", "epochs": 9},
    "odd": {"recipe": recipe("odd", train={"batch_size": 65}), "out": "odd"},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Answers]]:
    """What two processes answered to each job, and where their runs are."""
    place = tmp_path_factory.mktemp("two")
    for name, seed in (("photos", 0), ("others", 7)):
        write_classes(place / name, dict.fromkeys(("blue", "green", "red"), 6), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        stopped_copy(PLAIN, Path("from-one"), 9)
    return place, dict(zip(JOBS, train_in_group(list(JOBS.values()), place), strict=True))


Two = tuple[Path, dict[str, Answers]]


def alone(asked: dict[str, Any], out: Path) -> RunFolder:
    return RunFolder(Path(train(asked, out=out, console=QUIET).run))


def figures(run: RunFolder, key: str, kind: str) -> list[float]:
    return [line[key] for line in run.metrics() if line["kind"] == kind]


def same(one: RunFolder, other: RunFolder, relative: float) -> None:
    for key, kind in (
        ("loss", "step"),
        ("gradient_norm", "step"),
        ("val_loss", "epoch"),
        ("train_loss", "epoch"),
    ):
        expected = figures(one, key, kind)
        assert expected
        assert figures(other, key, kind) == pytest.approx(expected, rel=relative), key
    for key in ("train_accuracy", "val_accuracy"):
        assert figures(other, key, "epoch") == pytest.approx(figures(one, key, "epoch"), abs=relative), key


def test_in_float64_the_losses_are_those_of_one_process(two: Two, tmp_path: Path) -> None:
    place, answers = two
    one = alone(PLAIN, tmp_path / "one")
    assert len(figures(one, "loss", "step")) == 56
    same(one, RunFolder(place / "plain"), 1e-9)
    assert [answer["seen"]["images"] for answer in answers["plain"]] == [56 * 104] * 2


def test_synchronized_batch_norm_sees_the_whole_batch(two: Two, tmp_path: Path) -> None:
    place, _ = two
    same(alone(NORMED, tmp_path / "one"), RunFolder(place / "normed"), 1e-9)


def test_layers_that_learn_from_the_second_epoch_on(two: Two, tmp_path: Path) -> None:
    place, _ = two
    same(alone(THAWED, tmp_path / "one"), RunFolder(place / "thawed"), 1e-9)


def test_in_float32_they_are_near(two: Two, tmp_path: Path) -> None:
    place, answers = two
    one, other = alone(SINGLE, tmp_path / "one"), RunFolder(place / "single")
    assert figures(other, "loss", "step")[:56] == pytest.approx(figures(one, "loss", "step")[:56], rel=1e-4)
    assert answers["single"][0]["result"]["stopped_by"] == "early_stop_epochs"


def test_statistics_of_each_process_are_others(two: Two, tmp_path: Path) -> None:
    place, _ = two
    one = alone(OWN_STATISTICS, tmp_path / "one")
    assert figures(RunFolder(place / "own"), "loss", "step") != pytest.approx(
        figures(one, "loss", "step"), rel=1e-6
    )


@pytest.mark.parametrize(
    "job", ["plain", "normed", "single", "own", "thawed", "half", "in time", "resumed", "begun by one"]
)
def test_both_processes_end_alike(two: Two, job: str) -> None:
    first, second = two[1][job]
    assert first["seen"] == second["seen"]
    for answer in (first, second):
        result, position = answer["result"], answer["seen"]["position"]
        assert (result["steps"], result["epochs"]) == (answer["seen"]["step"], position["epoch"])
        assert result["best_val_accuracy"] == position["best_accuracy"]


def test_a_signal_for_one_stops_all_and_both_go_on(two: Two) -> None:
    place, answers = two
    for job, out in (("stopped", "stopped"), ("stopped for one", "for-one")):
        first, second = answers[job]
        assert (first["error"], second["error"]) == ("StoppedError", "SaidElsewhereError")
        assert (first["exit_code"], second["exit_code"]) == (143, 143)
        assert "SIGTERM at step 9" in first["says"]
        assert f"--resume {out}" in first["says"]
    assert (place / "stopped/metrics.jsonl").read_bytes() == (place / "plain/metrics.jsonl").read_bytes()


def test_one_process_goes_on_with_what_two_began(
    two: Two, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = two
    train(resume=place / "for-one", console=Console())
    assert "will not be bit-exact: processes: 2 -> 1" in capsys.readouterr().err
    same(alone(NORMED, tmp_path / "one"), RunFolder(place / "for-one"), 1e-9)


def test_two_processes_go_on_with_what_one_began(two: Two) -> None:
    place, answers = two
    said = (place / "from-one/log.txt").read_text()
    assert "will not be bit-exact: processes: 1 -> 2" in said
    assert [answer["seen"]["images"] for answer in answers["begun by one"]] == [47 * 104] * 2
    same(RunFolder(place / "plain"), RunFolder(place / "from-one"), 1e-9)


@pytest.mark.parametrize(
    ("job", "says", "exit_code"),
    [
        ("failed", "the images are gone", 3),
        ("diverged", "last good checkpoint: ", 6),
        ("another recipe", r"process 1 on .* has train.epochs 9, the first process has 8; ", 2),
        ("other images", r"process 1 on .* has images of fingerprint \w+\.*, the first process has \w", 3),
        ("images of one only", r"nowhere", 3),
        ("another command", r"process 1 on .* has the command train --resume, .* train RECIPE --resume; ", 2),
        ("other epochs", r"process 1 on .* has --epochs 9, the first process has as begun; ", 2),
        ("images that changed", r"the images found at .*photos are not those of for-one", 3),
        ("odd", r"65 images a step do not divide among 2 processes; give .*=64` or .*=66`", 2),
    ],
)
def test_one_says_what_ends_both(two: Two, job: str, says: str, exit_code: int) -> None:
    answers = two[1][job]
    assert [answer["exit_code"] for answer in answers] == [exit_code, exit_code]
    (own,) = [answer for answer in answers if answer["error"] != "SaidElsewhereError"]
    assert re.search(says, own["says"])


def test_what_is_refused_makes_nothing(two: Two) -> None:
    for out in ("another", "elsewhere", "nowhere", "never", "odd"):
        assert not (two[0] / out).exists()


def test_four_processes_train_as_one_and_two_do(two: Two, tmp_path: Path) -> None:
    """Every image is judged once where their number does not divide by four, and where a process has none."""
    write_classes(tmp_path / "photos", dict.fromkeys(("blue", "green", "red"), 6))
    recipes = {"few": FEW, "normed": NORMED, "of-photos": PHOTOS}
    jobs = [{"recipe": asked, "out": out} for out, asked in recipes.items()]
    jobs += [{"recipe": FEW, "out": "late", "set": ["train.seed=1"], "rank": 3}]
    *answers, late = train_in_group(jobs, tmp_path, processes=4)
    val = []
    for (out, asked), of_job in zip(recipes.items(), answers, strict=True):
        assert [answer["seen"] == of_job[0]["seen"] for answer in of_job] == [True] * 4, out
        one = alone(asked, tmp_path / f"one-{out}")
        for place in (two[0], tmp_path):
            same(one, RunFolder(place / out), 1e-9)
        val.append(one.data()["counts"]["val"])
    assert [count % 4 > 0 for count in val] == [True] * 3
    assert val[2] < 4
    assert [answer["exit_code"] for answer in late] == [2] * 4
    said = [answer["says"] for answer in late if answer["error"] != "SaidElsewhereError"]
    assert len(said) == 1
    assert "process 3 on" in said[0]


def test_a_killed_process_is_replaced_and_the_run_goes_on(two: Two, tmp_path: Path) -> None:
    """In the fifth epoch: the four before are not done again, and the end is that of an undisturbed run.

    Nor is the other training of that name, which the script had finished.
    """
    before = recipe("plain", train={"epochs": 1})
    jobs = [{"recipe": before}, {"recipe": PLAIN, "kill_at": 32}]
    first, pair = train_in_group(jobs, tmp_path, "--max-restarts", "1")
    run = tmp_path / "runs/plain-002"
    assert [answer["result"]["run"] for answer in first] == ["runs/plain-001"] * 2
    assert [answer["result"]["run"] for answer in pair] == ["runs/plain-002"] * 2
    assert [answer["seen"]["images"] for answer in pair] == [4 * 7 * 104] * 2
    assert (run / "metrics.jsonl").read_bytes() == (two[0] / "plain/metrics.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["plain-001", "plain-002"]


def test_a_process_that_follows_goes_on_with_the_environment_of_now() -> None:
    run = FollowedRun({"path": "far", "environment": {"threads": 1}})
    run.write_environment({"threads": 2})
    assert run.environment() == {"threads": 2}


def test_one_line_says_what_no_process_can_do(tmp_path: Path) -> None:
    """A part that is not installed, before the processes meet and after; a command for one process."""
    (tmp_path / "small.yaml").write_text(json.dumps(recipe("small")))
    train_words = ["train", "small.yaml", "--out", "out", "--set"]
    for words, missing, line in (
        ([*train_words, "train.seed=1"], "safetensors", r"safetensors is not installed; .*\[train\]"),
        ([*train_words, "model.name=timm:resnet18"], "timm", r"timm is not installed; .*\[timm\]"),
        (["predict", "model.zip", "photos", "--shard", "1/2"], "", r"predict works in one process, .* I/N"),
    ):
        for path in tmp_path.glob("*.py"):
            path.unlink()
        if missing:
            text = f"raise ModuleNotFoundError('No module named {missing}', name={missing!r})"
            (tmp_path / f"{missing}.py").write_text(text)
        code, _, errors = torchrun(["--nproc-per-node", "2", "-m", "pictorch", *words], tmp_path)
        assert code == 1  # torchrun's own
        said = [found for found in errors.splitlines() if found.startswith("pictorch: ")]
        assert len(said) == 1, errors
        assert re.search(line, said[0])


def test_the_command_prints_once(tmp_path: Path) -> None:
    """What one process says of both is what the command says."""
    (tmp_path / "small.yaml").write_text(json.dumps(recipe("small", train={"epochs": 1})))
    words = ["--nproc-per-node", "2", "-m", "pictorch", "train", "small.yaml", "--json"]
    code, output, errors = torchrun([*words, "--set", "train.threads=auto"], tmp_path)
    assert code == 0, errors
    assert json.loads(output)["steps"] == 7
    assert errors.count("run     runs/small-001") == 1
    environment = json.loads((tmp_path / "runs/small-001/environment.json").read_text())
    assert environment["processes"] == 2
    assert "divided among 2 processes" in environment["auto"]["train.threads"]["reason"]


@pytest.mark.parametrize(
    ("earlier", "restarts", "follows"),
    [
        (["job", "7-1", "8-1"], 0, True),  # the same torchrun, which does not count the loss of a host
        (["job", "5-1", "6-1"], 1, True),  # another one, restarted under the same id
        (["job", "5-1", "6-1"], 0, False),  # the same id, given again another day
        (["other", "5-1", "6-1"], 1, False),
        (["job", "7-1", "9-1"], 1, False),  # a run that this very process began
        ("job", 1, False),
        (None, 1, False),
    ],
)
def test_a_start_knows_the_run_of_an_earlier_one(earlier: object, restarts: int, follows: bool) -> None:
    assert Launch("job", "7-1", "9-1").follows(earlier, restarts) is follows


def test_without_torchrun_no_start_follows_another() -> None:
    assert not NO_LAUNCH.follows(["", "", "x"], 1)
