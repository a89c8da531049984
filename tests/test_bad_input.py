"""Everything that a user can get wrong ends in one clear line with its exit code."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from made_data import MadeCifar, write_classes
from pictorch import cli, durable

TRAIN = ["train", "cifar10-simple-net", "--epochs", "1", "-q", "--set", "train.threads=1", "--data"]


def said_by(capsys: pytest.CaptureFixture[str], exit_code: int, *arguments: str) -> str:
    """Runs a command that must fail; returns its one line."""
    capsys.readouterr()
    assert cli.main([*arguments]) == exit_code
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("pictorch: "), err
    assert "Traceback" not in err
    assert len(err) < 400, err
    return err


def test_all_recipe_problems_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(
        "data: {source: digits, val_fractoin: 0.2}\n"
        "model: {name: cifar_cnn}\n"
        "optimizer: {lr: -1, nam: sgd}\n"
        "schedule: {name: cosin}\n"
        "train: {epochs: many}\n"
        "lose: {}\n"
    )
    assert cli.main(["train", str(recipe)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"pictorch: {recipe}: ") for line in lines)
    text = "\n".join(lines)
    for found in (
        "data.val_fractoin = 0.2: unknown key (did you mean val_fraction?)",
        "unknown network 'cifar_cnn' (did you mean cifar10_cnn?)",
        "optimizer.lr = -1",
        "optimizer.nam = 'sgd': unknown key (did you mean name?)",
        "schedule.name = 'cosin'",
        "(did you mean cosine?)",
        "train.epochs = 'many'",
        "lose: unknown section (did you mean loss?)",
    ):
        assert found in text, found
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train"], "name a recipe"),
        (["train", "cifar10-cn"], "did you mean cifar10-cnn?"),
        (["train", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["train", "digits", "--set", "train.epochs"], "write section.key=value"),
        (["train", "digits", "--set", "train.epochs=0"], "train.epochs = 0"),
        (["train", "digits", "--device", "cuda"], "cuda is not available here"),
        (["train", "digits", "--set", "augment.crop_padding=8"], "augment.crop_padding: 8"),
        (["train", "digits", "--set", "model.name=resnet18", "--set", "model.dropout=0.1"], "has no dropout"),
        (["train", "digits", "--set", "data.image_size=2"], "cannot take images of 2 pixels"),
        (["recipes", "digit"], "did you mean digits?"),
        (["models", "resnet"], "did you mean resnet18?"),
        (["models", "--num-classes", "0"], "at least 2 classes"),
        (["train", "digits", "--set", "model.std=[0, 1, 1]"], "model.std"),
        (["evaluate", "run", "--split", "tset"], "did you mean test?"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    if arguments[-1] == "cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("a CUDA device is here")
    assert part in said_by(capsys, 2, *arguments)


@pytest.mark.parametrize("arguments", [["evaluate"], ["train", "--sed", "1"], ["trian"], []])
def test_a_wrong_command_is_one_line_too(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert "--help" in said_by(capsys, 2, *arguments)


def missing(root: Path) -> str:
    return "does not exist"


def empty(root: Path) -> str:
    root.mkdir()
    return "photos"


def one_class(root: Path) -> str:
    write_classes(root, {"cat": 5})
    return "cat"


def class_only_in_test(root: Path) -> str:
    write_classes(root / "train", {"cat": 5, "dog": 5})
    write_classes(root / "test", {"cat": 2, "cow": 2})
    return "cow"


def truncated_image(root: Path) -> str:
    write_classes(root, {"cat": 5, "dog": 5}, side=16)
    broken = root / "dog" / "003.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    return "003.png"


def empty_image(root: Path) -> str:
    write_classes(root, {"cat": 5, "dog": 5})
    (root / "cat" / "001.png").write_bytes(b"")
    return "001.png"


def text_image(root: Path) -> str:
    write_classes(root, {"cat": 5, "dog": 5})
    (root / "cat" / "note.png").write_text("not a picture at all")
    return "note.png"


def mixed_sizes(root: Path) -> str:
    write_classes(root, {"cat": 5, "dog": 5})
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "PNG")
    (root / "dog" / "large.png").write_bytes(buffer.getvalue())
    return "set data.image_size"


def truncated_archive(root: Path) -> str:
    archive = MadeCifar().write_archive(root.parent)
    root.write_bytes(archive.read_bytes()[:-5000])
    archive.unlink()
    return "photos"


def truncated_batch(root: Path) -> str:
    batch = MadeCifar().write_batches(root) / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-100])
    return "data_batch_3"


@pytest.mark.parametrize(
    "make",
    [
        missing,
        empty,
        one_class,
        class_only_in_test,
        truncated_image,
        empty_image,
        text_image,
        mixed_sizes,
        truncated_archive,
        truncated_batch,
    ],
)
def test_wrong_data(capsys: pytest.CaptureFixture[str], tmp_path: Path, make: Callable[[Path], str]) -> None:
    root = tmp_path / "photos"
    part = make(root)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert part in said_by(capsys, 3, *TRAIN, str(root))
    assert not Path("runs").exists(), "no run is begun with data that cannot be used"
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after


def test_no_network(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    monkeypatch.setenv("PICTORCH_OFFLINE", "1")
    assert "PICTORCH_OFFLINE" in said_by(capsys, 3, "train", "cifar10-cnn")


def test_unwritable_folders(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = said_by(capsys, 5, "train", "digits", "-q", "--out", str(tmp_path / "file" / "run"))
    assert str(tmp_path / "file") in line
    line = said_by(capsys, 2, "train", "digits", "-q", "--out", str(tmp_path))
    assert "is not empty" in line


def test_full_disk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk fills while the second epoch is saved; the first stays, and the run goes on later."""
    quick = ["-q", "--set", "train.threads=1"]
    real, saved = os.rename, 0

    def rename(source: Path, target: Path) -> None:
        nonlocal saved
        saved += "last" in Path(target).name
        if saved > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(durable.os, "rename", rename)
    line = said_by(capsys, 5, "train", "digits", "--epochs", "2", "--out", "run", *quick)
    assert "no space left while writing run/checkpoints/last" in line
    assert "what was saved before is untouched" in line
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert durable.verify_folder(tmp_path / "run/checkpoints/last")["metrics"]["epoch"] == 1
    assert cli.main(["train", "--resume", "run", "-q"]) == 0


def test_a_file_system_that_takes_no_more_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel itself refuses, inside the libraries' own writers too."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        line = said_by(
            capsys, 5, "train", "digits", "--epochs", "1", "-q", "--out", "run", "--set", "train.threads=1"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "no space left while writing run/checkpoints/best" in line
    assert not list(Path("run").rglob("*.safetensors"))


def test_diverged(capsys: pytest.CaptureFixture[str]) -> None:
    wild = [
        "--set",
        "optimizer.lr=1e20",
        "--set",
        "schedule.name=constant",
        "--set",
        "schedule.warmup_fraction=0",
        "--set",
        "train.threads=1",
    ]
    line = said_by(capsys, 6, "train", "digits", "-q", "--out", "run", *wild)
    assert "at step" in line
    assert "learning rate 1e+20" in line
    assert "last good checkpoint: none yet" in line
    assert not list(Path("run").rglob("*.safetensors"))


def test_checkpoint_of_another_network(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["-q", "--epochs", "1", "--set", "train.threads=1"]
    assert cli.main(["train", "digits", "--out", "cnn", *quick]) == 0
    assert cli.main(["train", "digits", "--out", "simple", *quick, "--set", "model.name=simple_net"]) == 0
    for name in ("best", "last"):
        for file in Path("simple/checkpoints", name).iterdir():
            file.replace(Path("cnn/checkpoints", name, file.name))
    assert "does not fit the run's network" in said_by(capsys, 4, "evaluate", "cnn")
    assert "does not fit the run's network" in said_by(capsys, 4, "export", "cnn")
    assert "does not fit the run's network" in said_by(
        capsys, 4, "train", "--resume", "cnn", "--epochs", "2", "-q"
    )


def test_predict_before_export(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["-q", "--epochs", "1", "--set", "train.threads=1"]
    assert cli.main(["train", "digits", "--out", "run", *quick]) == 0
    assert "pictorch export run" in said_by(capsys, 4, "predict", "run", "image.png")
    assert "unknown checkpoint 'epoch-9'" in said_by(capsys, 4, "evaluate", "run", "--checkpoint", "epoch-9")
