"""Chinese names the whole way: folder, classes, files, run, bundle and zip, in any terminal."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from made_photos import originals
from pictorch import cli

CLASSES = ("狗", "猫")
SMALL = ["--epochs", "2", "--set", "data.image_size=16", "--set", "model.name=simple_net"]
SMALL += ["--set", "train.threads=1", "--set", "optimizer.lr=0.01"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder 照片 in the working folder, whose own name has a space in it."""
    folder = tmp_path / "我的 照片夹"
    for name, original in zip(CLASSES, list(originals().values())[:2], strict=True):
        (folder / "照片" / name).mkdir(parents=True)
        for number in range(12):
            crop = original.crop((20 * number, 10, 20 * number + 150, 130 + number))
            crop.save(folder / "照片" / name / f"第 {number} 张.{('png', 'jpg')[number % 2]}")
    monkeypatch.chdir(folder)
    return "照片"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command, which must succeed; returns what it printed."""
    assert cli.main(words) == 0, words
    return capsys.readouterr().out


@pytest.mark.slow
def test_chinese_names_the_whole_way(photos: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "data", "show", photos, "--out", "图 片")
    assert all(name in shown for name in CLASSES)
    with Image.open("图 片/class_distribution.png") as picture:
        assert np.asarray(picture).std() > 1
    assert "nothing must be mended" in said(capsys, "data", "check", photos)

    run = "运行/第一 次"
    said(capsys, "train", "folder-small", "--data", photos, "--out", run, *SMALL)
    said(capsys, "train", "--resume", run, "--epochs", "3")
    scores = json.loads(said(capsys, "evaluate", run, "--split", "test", "--json"))
    assert tuple(score["name"] for score in scores["per_class"]) == CLASSES
    said(capsys, "report", run)
    assert all(f"{name}</" in Path(run, "report.html").read_text() for name in CLASSES)
    assert "第一 次" in said(capsys, "runs", "运行")
    events = EventAccumulator(f"{run}/tensorboard").Reload()
    assert {f"f1/{name}" for name in CLASSES} <= set(events.Tags()["scalars"])

    said(capsys, "export", run, "--out", "结果/猫狗 模型.zip")
    assert "is whole" in said(capsys, "verify", "结果/猫狗 模型.zip")
    photo = f"{photos}/猫/第 0 张.png"
    answer = json.loads(said(capsys, "predict", "结果/猫狗 模型.zip", photo, "--json"))
    assert answer["predictions"][0]["source"] == photo
    assert {each["name"] for each in answer["predictions"][0]["classes"]} == set(CLASSES)
    said(capsys, "evaluate", "结果/猫狗 模型.zip", "--data", photos, "--out", "结果/评估")
    weights = f"{run}/checkpoints/best/model.safetensors"
    recipe = f"{run}/recipe.yaml"
    said(capsys, "convert", weights, "--model", "simple_net", "--recipe", recipe, "--out", "运行/转换")

    with zipfile.ZipFile("照片.zip", "w") as archive:
        for file in sorted(Path(photos).rglob("*.*")):
            archive.write(file)
    said(capsys, "train", "folder-small", "--data", "照片.zip", "--out", "运行/压缩包", *SMALL)
    packed, unpacked = (Path(each, "data.json") for each in ("运行/压缩包", run))
    assert json.loads(packed.read_text())["fingerprint"] == json.loads(unpacked.read_text())["fingerprint"]


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_only(photos: str) -> None:
    """What it cannot show is escaped; what is written stays UTF-8."""
    environment = {name: value for name, value in os.environ.items() if name[:3] != "LC_" and name != "LANG"}
    environment |= {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}
    train = ["train", "folder-small", "--data", photos, "--out", "运行", *SMALL]
    for words in (["data", "show", photos], train, ["evaluate", "运行"]):
        command = [sys.executable, "-m", "pictorch", *words]
        done = subprocess.run(command, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert CLASSES[0].encode("ascii", "backslashreplace") in done.stdout or words[0] == "train"
        assert (
            photos.encode("ascii", "backslashreplace") in done.stdout + done.stderr or words[0] == "evaluate"
        )
    assert json.loads(Path("运行/data.json").read_text(encoding="utf-8"))["class_names"] == list(CLASSES)
