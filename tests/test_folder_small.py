"""A person with a folder of photographs gets to a prediction by what each command says comes next."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from made_data import noise, write_classes, write_image
from made_photos import CLASSES, write_photos
from pictorch import cli
from pictorch.recipe.files import load_recipe


def run(command: str, place: Path) -> str:
    """Runs a command as a shell would; returns what it printed, which may warn of nothing."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "arning" not in done.stderr
    return done.stdout


def run_here(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command in this process, where a warning is an error too; returns what it printed."""
    capsys.readouterr()
    words = shlex.split(command)
    program = [Path(word).name for word in words].index("pictorch")
    assert cli.main(words[program + 1 :]) == 0, command
    said = capsys.readouterr()
    assert "arning" not in said.err
    return said.out


def next_commands(printed: str) -> list[str]:
    """Returns the commands that a command names as the next, without what stands behind #."""
    lines = printed.partition("next:")[2].splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def pick(commands: list[str], verb: str) -> str:
    (found,) = [command for command in commands if f" {verb} " in command]
    return found


@pytest.mark.slow
def test_from_photographs_to_a_prediction_without_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first, its longest and its last command are run by a shell."""
    monkeypatch.setattr(sys, "argv", ["__main__.py"])  # by which the program names itself
    write_photos(tmp_path / "my photos", train=24, test=12)
    begin = f"{shlex.quote(sys.executable)} -m pictorch data show 'my photos'"
    shown = run(begin, tmp_path)
    for name in (*CLASSES, "108 images", "augmented.png"):
        assert name in shown
    checked = run_here(pick(next_commands(shown), "data check"), capsys)
    assert "nothing must be mended" in checked
    train = pick(next_commands(checked), "train")
    assert "train folder-small --data 'my photos'" in train
    trained = run(f"{train} --epochs 16 --set train.batch_size=16 --set train.threads=1", tmp_path)
    evaluated = run_here(pick(next_commands(trained), "evaluate"), capsys)
    accuracy = float(re.search(r"test accuracy ([\d.]+)", evaluated)[1])  # type: ignore[index]
    assert accuracy > 60, "guessing gives 33"
    exported = run_here(pick(next_commands(trained), "export"), capsys)
    predict = pick(next_commands(exported), "predict")
    photo = next((tmp_path / "my photos/test/寺庙").glob("照片*"))
    answered = run(predict.replace("PATH...", shlex.quote(str(photo))), tmp_path)
    assert any(name in answered for name in CLASSES)


def test_sizes_need_no_setting() -> None:
    recipe = load_recipe("folder-small")
    assert recipe.data.image_size == 64
    assert recipe.data.val_fraction > 0
    assert recipe.data.test_fraction > 0


def quick(source: Path, run_folder: Path, *more: str) -> int:
    command = ["train", "folder-small", "--data", str(source), "--out", str(run_folder), "-q", *more]
    return cli.main([*command, "--epochs", "1", "--set", "train.threads=1", "--set", "model.name=simple_net"])


def photos(root: Path, count: int) -> Path:
    for label, name in enumerate(("猫", "dog")):
        for number in range(count):
            write_image(root / name / f"{number}.JPG", noise(20 + number, 70, 100 * label + number))
    return root


def test_three_images_of_each_class(tmp_path: Path) -> None:
    assert quick(photos(tmp_path / "few", 3), tmp_path / "run") == 0


@pytest.mark.slow
def test_upper_case_and_a_photograph_of_50_megapixels(tmp_path: Path) -> None:
    root = photos(tmp_path / "large", 3)
    Image.new("RGB", (8192, 6144), "white").save(root / "dog" / "HUGE.JPEG")
    assert quick(root, tmp_path / "run") == 0


def test_a_zip_from_a_mac(tmp_path: Path) -> None:
    root = photos(tmp_path / "pets", 3)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted(root.rglob("*.JPG")):
            name = f"pets/{file.relative_to(root).as_posix()}"
            archive.write(file, name)
            archive.writestr(f"__MACOSX/{Path(name).parent}/._{file.name}", b"\0\5\x16\7")
        archive.writestr("pets/.DS_Store", b"x")
    assert quick(tmp_path / "pets.zip", tmp_path / "run") == 0


def test_a_zip_from_windows_in_chinese(tmp_path: Path) -> None:
    """Its names are GBK, and nothing says so."""
    root, path = photos(tmp_path / "pets", 3), tmp_path / "宠物.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.JPG")):
            archive.write(file, f"pets/{file.relative_to(root).as_posix()}".replace("pets/猫", "pets/::"))
    path.write_bytes(
        path.read_bytes().replace(b"pets/", "宠物/".encode("gbk")).replace(b"/::/", "/猫/".encode("gbk"))
    )
    assert quick(path, tmp_path / "run") == 0
    assert json.loads((tmp_path / "run/data.json").read_text())["class_names"] == ["dog", "猫"]
    assert "names in the zip are read as GBK" in (tmp_path / "run/log.txt").read_text()


def heic_only(root: Path) -> tuple[str, ...]:
    for file in (photos(root, 3) / "dog").iterdir():
        file.rename(file.with_suffix(".HEIC"))
    return "class folders without images: dog (3 x file ending in .heic)", "fill or remove"


def flat(root: Path) -> tuple[str, ...]:
    photos(root, 3)
    for file in list(root.rglob("*.JPG")):
        shutil.move(file, root / f"{file.parent.name} {file.name}")
    shutil.rmtree(root / "猫")
    shutil.rmtree(root / "dog")
    return "6 outside of them", "a folder of its own"


def one_class(root: Path) -> tuple[str, ...]:
    write_classes(root, {"cat": 5})
    return "one class only (cat)", "one folder of images for each class"


def wrapped(root: Path) -> tuple[str, ...]:
    photos(root / "pictures", 3)
    return "one class only (pictures)", f"give {root}/pictures"


def one_image_each(root: Path) -> tuple[str, ...]:
    photos(root, 1)
    return "no class has the two images", "add images"


def renamed_pdf(root: Path) -> tuple[str, ...]:
    (photos(root, 3) / "dog" / "scan.jpg").write_bytes(b"%PDF-1.4 ...")
    return "scan.jpg", "it is a PDF", "use one of JPEG"


@pytest.mark.parametrize("make", [heic_only, flat, one_class, wrapped, one_image_each, renamed_pdf])
def test_what_cannot_be_trained_on_is_said_in_two_lines(
    make: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    parts = make(root)  # type: ignore[operator]
    assert quick(root, tmp_path / "run") == 3
    said = capsys.readouterr().err
    assert said.count("\n") <= 2
    for part in (*parts, str(root)):
        assert part in said, said


def test_heic_beside_others_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos(tmp_path / "mixed", 3)
    (root / "dog" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "dog" / "invoice.pdf").write_bytes(b"%PDF")
    command = ["train", "folder-small", "--data", str(root), "--out", "run", "--epochs", "1"]
    assert cli.main([*command, "--set", "train.threads=1", "--set", "model.name=simple_net"]) == 0
    said = capsys.readouterr().err
    assert "not used: 1 x file ending in .heic, 1 x file ending in .pdf" in said
    assert "save photographs as JPEG or PNG to use them" in said
