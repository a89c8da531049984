"""The command line: its twins in Python, what it prints, how it ends, how fast it starts."""

import argparse
import inspect
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.table import Table

import pictorch
from made_data import write_classes
from pictorch import cli
from pictorch.cli.output import print_evaluation, print_table
from pictorch.cli.parser import build_parser
from pictorch.predictor import Prediction
from pictorch.run_folder import ClassScore, Evaluation
from pictorch.views import ViewScores

GENERAL_FLAGS = {"help", "json", "quiet", "verbose", "debug"}


# How a command line prints what Python gets as an object.
FORMS = {"jsonl", "csv"}
# A word that Python keeps for itself.
TWINS = {"import": "import_model"}
# What Python may be given and a command line cannot.
OBJECTS = {"console", "model", "loss", "progress"}


def verbs() -> dict[str, argparse.ArgumentParser]:
    return dict(commands_of(build_parser(*cli.ROOMS)))


def commands_of(
    parser: argparse.ArgumentParser, before: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yields every command with its parser; those of a group have two words."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield before.strip(), parser
    for group in groups:
        for word, command in group.choices.items():
            yield from commands_of(command, f"{before} {word}")


def test_no_public_name_is_a_module_too() -> None:
    """Importing a module sets its name on the package, so `pictorch.demo` would be two things."""
    assert [name for name in pictorch.__all__ if find_spec(f"pictorch.{name}") is not None] == []


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_has_a_twin_with_the_same_parameters(verb: str) -> None:
    twin = getattr(pictorch, TWINS.get(verb, verb.replace(" ", "_")))
    asked = {action.dest for action in verbs()[verb]._actions} - GENERAL_FLAGS - FORMS
    assert asked == inspect.signature(twin).parameters.keys() - (OBJECTS - asked)


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in verbs():
        with pytest.raises(SystemExit) as stop:
            cli.main([*verb.split(), "--help"])
        assert stop.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_help_lists_every_verb_once_in_the_order_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    listed = [line[2:16].strip() for line in lines if line.startswith("  ") and line[2] != "-"]
    assert sorted(listed) == sorted(verbs())
    assert listed.index("train") < listed.index("evaluate") < listed.index("export")
    assert max(map(len, lines)) <= 80


@pytest.mark.slow
def test_next_lines_can_be_pasted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "a run's folder"
    quick = ["--epochs", "1", "--set", "train.threads=1", "-q"]
    assert cli.main(["train", "digits", "--out", str(out), *quick]) == 0
    assert cli.main(["recipes"]) == 0
    said = capsys.readouterr().out
    for start in ("evaluate", "export", "recipes cifar10-cnn"):
        (line,) = (line for line in said.splitlines() if f"{cli.output.program_name()} {start}" in line)
        words = shlex.split(line.removeprefix("next:"), comments=True)
        assert cli.main(words[words.index(start.split()[0]) :]) == 0


@pytest.mark.parametrize(
    "start", [[sys.executable, "-m", "pictorch"], [Path(sys.executable).with_name("pictorch")]]
)
def test_next_lines_name_the_program_as_it_was_called(start: list[str]) -> None:
    nowhere = {**os.environ, "PATH": "/nowhere"}
    shown = subprocess.run(
        [*start, "recipes"], env=nowhere, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("next:"))
    subprocess.run(shlex.split(line.removeprefix("next:"), comments=True), env=nowhere, check=True)


def test_help_is_quick() -> None:
    """The promise is under 0.3 s on 2 idle cores; the bound leaves room for a busy machine."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pictorch", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, statistics.median(seconds)


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, pictorch\n"
        "from pictorch import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'rich', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, evaluated, exported and reported through the command line."""
    run = tmp_path_factory.mktemp("cli") / "run"
    quick = ["--set", "train.threads=1", "--epochs", "2"]
    assert cli.main(["train", "digits", "--out", str(run), "-q", *quick]) == 0
    assert cli.main(["evaluate", str(run), "--split", "test"]) == 0
    assert cli.main(["export", str(run)]) == 0
    assert cli.main(["report", str(run)]) == 0
    return run


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Runs a command with --json; stdout must be one object and nothing else."""
    capsys.readouterr()
    assert cli.main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


def test_run_folder_holds_what_the_contract_names(trained: Path) -> None:
    for name in (
        "run.json",
        "recipe.yaml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "timing.jsonl",
        "log.txt",
        "checkpoints/last/model.safetensors",
        "checkpoints/last/state.pt",
        "checkpoints/last/manifest.json",
        "checkpoints/best/model.safetensors",
        "evaluation/test.json",
        "evaluation/test.npz",
        "samples.npz",
        "bundle/bundle.json",
        "bundle/model.onnx",
        "report.html",
    ):
        assert (trained / name).is_file(), name
    assert list((trained / "tensorboard").iterdir())


def test_train_prints_one_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = json_of(capsys, "train", "digits", "--epochs", "1", "--set", "train.threads=1")
    assert result["run"] == "runs/digits-001"
    assert result["epochs"] == 1
    assert result["best_epoch"] == 1
    again = json_of(capsys, "train", "--resume", "runs/digits-001")
    assert again == result


def test_evaluate_keeps_its_contract(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json_of(capsys, "evaluate", str(trained))
    assert result.keys() == {
        "split", "n", "accuracy", "accuracy_interval", "loss", "top5", "per_class", "macro",
        "confusion", "checkpoint", "step", "test_openings",
    }  # fmt: skip
    assert result["per_class"][0].keys() == {"name", "n", "precision", "recall", "f1", "auc"}
    assert result["split"] == "val"
    assert result["test_openings"] == 1
    assert result["n"] == sum(map(sum, result["confusion"])) == 145


def test_predict_verify_report_recipes_models(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from PIL import Image

    image = tmp_path / "picture.png"
    Image.new("L", (8, 8), 200).save(image)
    (prediction,) = json_of(capsys, "predict", str(trained), str(image), "--top", "3")["predictions"]
    assert prediction["source"] == str(image)
    assert len(prediction["classes"]) == 3
    assert json_of(capsys, "verify", str(trained / "bundle"))["ok"] is True
    assert json_of(capsys, "report", str(trained))["report"] == str(trained / "report.html")
    names = [row["name"] for row in json_of(capsys, "recipes")["recipes"]]
    assert {"digits", "cifar10-cnn", "cifar10-simple-net"} <= set(names)
    fields = {row["path"]: row for row in json_of(capsys, "recipes", "digits")["recipe"]}
    assert fields["data.source"]["value"] == "digits"
    assert fields["train.precision"]["description"]
    (summary,) = json_of(capsys, "models", "simple_net")["models"]
    assert summary["parameters"] == 25_578


def test_what_a_person_reads(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["evaluate", str(trained)])
    assert "95 % interval" in capsys.readouterr().out
    cli.main(["models", "cifar10_cnn"])
    assert "2,168,746" in capsys.readouterr().out
    cli.main(["recipes", "cifar10-cnn"])
    shown = capsys.readouterr().out
    assert '* model.name = "cifar10_cnn"' in shown
    assert "pictorch train cifar10-cnn" in shown
    log = (trained / "log.txt").read_text()
    assert "val loss" in log
    assert "\n    2/2  " in log
    assert "\ntest accuracy " in log, "evaluations and exports are kept in it too"


def test_control_characters_of_class_names_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a\x1b[2Jb"
    score = ClassScore(name, 1, 1.0, 1.0, 1.0, None)

    def answered(*unused: object, **options: object) -> list[Prediction]:
        return [Prediction("x\n.png", ((name, 1.0),))]

    print_evaluation(Evaluation("val", 1, 1.0, (0.2, 1.0), 0.1, None, (score,), {}, ((1,),), "best", 1, 0))
    monkeypatch.setattr("pictorch.predictor.load", lambda source: Mock(stream=answered))
    assert cli.main(["predict", "run", "x"]) == 0
    said = capsys.readouterr().out
    assert said.count(r"a\x1b[2Jb") == 2
    assert "\x1b" not in said
    assert r"x\n.png: " in said


def test_views_are_told_below_the_images_alone(capsys: pytest.CaptureFixture[str]) -> None:
    views = ViewScores("flip_shift", 0.9, 0.75, (0.7, 0.8), 0.5, None, 0.25, 2.25)
    print_evaluation(Evaluation("val", 4, 0.5, (0.2, 1.0), 0.1, None, (), {}, (), "best", 1, 0, views))
    alone, several = capsys.readouterr().out.splitlines()[:2]
    assert "50.00%" in alone
    assert several.startswith("with views 75.00%  (95 % interval 70.00% to 80.00%)")
    assert "flip_shift for the 25.0% of images below 0.9, 2.25 passes an image" in several


def test_brackets_and_colons_in_names_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("class")
    table.add_row("dog [red] [/] :smile:")
    print_table(table)
    assert "dog [red] [/] :smile:" in capsys.readouterr().out


@pytest.mark.slow
def test_quiet_leaves_stderr_to_errors(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, quick = str(trained), ["--epochs", "1", "--set", "train.threads=1", "--out", "fresh"]
    commands = [["train", "digits", *quick], ["evaluate", run], ["export", run, "--out", "bundle.zip"]]
    commands += [["report", run], ["runs", str(trained.parent)], ["doctor"], ["data", "show", "digits"]]
    capsys.readouterr()
    for command in commands:
        assert cli.main([*command, "-q"]) == 0
        assert capsys.readouterr().err == "", command
    assert cli.main(["evaluate", "nowhere", "-q"]) == 4
    assert capsys.readouterr().err.startswith("pictorch: nowhere")


@pytest.mark.slow
def test_verbose_says_more(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    shown = {}
    for flag in ("--json", "-v"):
        quick = ["--epochs", "1", "--set", "train.threads=1", "--out", f"run{flag}"]
        assert cli.main(["train", "digits", *quick, flag]) == 0
        shown[flag] = capsys.readouterr().err
    assert "train.compile = False (auto: " in shown["-v"]
    assert "train.compile" not in shown["--json"]
    assert shown["-v"] in Path("run-v/log.txt").read_text(), "what was shown is kept"
    assert cli.main(["evaluate", str(trained), "-v"]) == 0
    assert "judging checkpoint best on 145 images, device cpu" in capsys.readouterr().err


def test_an_error_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nowhere", "--json"]) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["exit_code"] == 4
    assert "nowhere" in json.loads(said.out)["error"]
    assert said.err.startswith("pictorch: ")


def test_debug_shows_where_an_error_arose(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nowhere", "--debug"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_exit_1_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str | None = None) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("pictorch.recipe.files.recipes", broken)
    assert cli.main(["recipes"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("pictorch: a bug of pictorch (ZeroDivisionError: oh) in looking.py, line ")
    assert err.endswith("; report it with what --debug shows\n")


def test_a_missing_part_names_its_pip_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pictorch.exporting.network_list", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "pictorch.exporting.network_list")
    monkeypatch.delitem(sys.modules, "pictorch.networks", raising=False)
    assert cli.main(["models"]) == 9
    assert "pip install 'pictorch[train]'" in capsys.readouterr().err


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which `pictorch` is this one; its exit code is that of the first command."""
    start = f'pictorch() {{ "{sys.executable}" -m pictorch "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", start], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "line",
    [
        "pictorch recipes cifar10-cnn | true",
        "pictorch recipes >&-",
        "pictorch recipes --json >&-",
        "pictorch recipes 2>&-",
        pytest.param("pictorch doctor | true", marks=pytest.mark.slow),
        pytest.param("pictorch models lenet | true", marks=pytest.mark.slow),
        pytest.param("pictorch models lenet 2>&-", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_is_not_there_is_no_error(line: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flags", ["", "--json"])
def test_output_that_cannot_be_written_is_one_line(flags: str) -> None:
    done = shell(f"pictorch recipes {flags} > /dev/full")
    assert done.returncode == 5
    assert done.stderr.startswith("pictorch: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def bad_photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "bad.png").write_bytes(b"")
    return tmp_path / "photos"


def test_a_terminal_of_plain_ascii_shows_other_characters_escaped(bad_photos: Path) -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell(f"pictorch data check {bad_photos}", **ascii_only)
    assert (done.returncode, done.stderr) == (3, "")
    assert r"\u2192 " in done.stdout, "the arrow before a remedy"


@pytest.mark.slow
def test_where_python_misreads_names_the_remedy_is_to_read_them_as_utf8(tmp_path: Path) -> None:
    write_classes(tmp_path / "照片", {"猫": 12, "狗": 12})
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("pictorch data check 照片 -q", **ascii_only)
    assert (done.returncode, done.stderr) == (3, "")
    assert "set PYTHONUTF8=1, Python reads names as ascii here" in done.stdout
    assert shell("pictorch data check 照片 -q", LC_ALL="POSIX").returncode == 0
    assert shell("pictorch data check 照片 -q", **{**ascii_only, "PYTHONUTF8": "1"}).returncode == 0


def test_the_exit_code_of_a_check_survives_a_reader_that_leaves(bad_photos: Path) -> None:
    assert shell(f"pictorch data check {bad_photos} -q | true").returncode == 3


@pytest.mark.slow
def test_a_training_goes_on_when_nobody_watches() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    quick = ["--epochs", "1", "--out", "run", "--set", "train.threads=1"]
    command = [sys.executable, "-m", "pictorch", "train", "digits", *quick]
    subprocess.run(command, stderr=writer, stdout=subprocess.DEVNULL, check=True)
    os.close(writer)
    assert (Path("run") / "checkpoints" / "best").is_dir()


def test_an_error_of_the_command_itself_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--sed", "1", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
