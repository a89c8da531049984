"""`data check`: every fault is found and named, and no input file is ever changed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import pictorch
from made_data import MadeCifar, noise, write_classes, write_image, zip_folder
from pictorch import cli
from pictorch.datasets.check import DataCheck
from pictorch.datasets.findings import Finding


def check(source: Path | str) -> DataCheck:
    return pictorch.data_check(source)


def found(result: DataCheck, part: str) -> Finding:
    (finding,) = [finding for finding in result.findings if part in finding.what]
    return finding


def hashes(root: Path) -> dict[str, tuple[str, int, int]]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        str(path): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in files
    }


def test_a_sound_folder_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "pets", {"cat": 12, "dog": 12})
    result = check(root)
    assert result.findings == ()
    assert not result.must_mend
    assert result.counts == {"train": 24}
    assert cli.main(["data", "check", str(root)]) == 0
    assert f"train folder-small --data {root}" in capsys.readouterr().out


def broken(root: Path) -> dict[str, str]:
    """Writes one file of each kind that cannot be read; returns what is said of each."""
    write_classes(root, {"cat": 12, "dog": 12}, side=16)
    whole = (root / "cat" / "000.png").read_bytes()
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "cut off.png").write_bytes(whole[:-100])
    (root / "dog" / "text.JPG").write_text("hello, I am a text")
    (root / "dog" / "page.gif").write_text("<html><body>404</body></html>")
    (root / "dog" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    return {
        "empty.png": "is empty (0 bytes)",
        "cut off.png": "damaged or truncated",
        "text.JPG": "starts like text",
        "page.gif": "an HTML page",
        "phone.jpg": "HEIC",
    }


@pytest.mark.parametrize("form", ["folder", "zip", "parts"])
def test_every_broken_file_is_listed(form: str, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    said = broken(root / "train" if form == "parts" else root)
    if form == "parts":
        write_classes(root / "test", {"cat": 12, "dog": 12}, seed=50_000)
    source = zip_folder(root, tmp_path / "photos.zip") if form == "zip" else root
    result = check(source)
    finding = found(result, "cannot be read")
    assert finding.severity == "error"
    assert result.must_mend
    assert finding.what == "5 images cannot be read"
    for name, reason in said.items():
        (line,) = [line for line in finding.where if name in line]
        assert reason in line
    assert check(source) == result, "the cached look finds the same"


def test_json_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken(tmp_path / "photos")
    assert cli.main(["data", "check", str(tmp_path / "photos"), "--json"]) == 3
    value = json.loads(capsys.readouterr().out)
    assert value["must_mend"] is True
    assert value["findings"][0]["count"] == len(value["findings"][0]["where"]) == 5
    assert cli.main(["data", "check", str(tmp_path / "photos")]) == 3
    shown = capsys.readouterr().out
    assert "and 2 more (-v shows all)" in shown
    assert cli.main(["data", "check", str(tmp_path / "photos"), "-v"]) == 3
    assert "more (-v" not in capsys.readouterr().out


def test_no_input_file_is_changed(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    broken(root)
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = hashes(root)
    assert check(root).must_mend
    assert cli.main(["data", "show", str(root), "--out", str(tmp_path / "pictures")]) == 0
    assert hashes(root) == before
    for path in root.rglob("*"):
        path.chmod(0o755)


def test_odd_files(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "odd", {"a": 12, "b": 12}, side=16)
    write_image(root / "a" / "dot.png", noise(1, 1))
    write_image(root / "a" / "strip.png", noise(10, 200))
    Image.fromarray(noise(16, 16, 901)).save(root / "a" / "really a png.jpg", "PNG")
    Image.fromarray(noise(16, 16, 902)).convert("CMYK").save(root / "a" / "print.jpg")
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 200).save(root / "b" / "deep.png")
    frames = [Image.fromarray(noise(16, 16, 910 + n)).quantize(16) for n in range(3)]
    frames[0].save(root / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (16, 16), "red").save(root / "b" / "red.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(16, 20, 920)).save(root / "b" / "turned.JPG", exif=exif)
    result = check(root)
    assert not result.must_mend
    for part, severity, names in (
        ("with a side below 8", "warning", {"dot.png": "1 x 1"}),
        ("as long as wide", "warning", {"strip.png": "200 x 10"}),
        ("of one colour", "warning", {"red.png": "16 x 16", "dot.png": "1 x 1"}),
        ("another ending", "info", {"really a png.jpg": "is PNG"}),
        ("CMYK", "info", {"print.jpg": "CMYK", "deep.png": "I;16"}),
        ("several frames", "info", {"moving.gif": "GIF"}),
        ("EXIF", "info", {"turned.JPG": "16 x 20"}),
    ):
        finding = found(result, part)
        assert finding.severity == severity
        assert len(finding.where) == len(names)
        for name, reason in names.items():
            assert any(f"{name}: {reason}" in line for line in finding.where), (name, finding.where)
    assert found(result, "shorter sides differ").severity == "info"


@pytest.mark.slow
def test_a_huge_photograph(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 12, "b": 12}, side=16)
    Image.new("L", (8192, 6144), 255).save(root / "a" / "50 megapixels.jpg")
    assert "50 megapixels.jpg: 50 megapixels" in found(check(root), "very large").where[0]


def test_classes_that_differ_between_splits_and_too_small_ones(tmp_path: Path) -> None:
    root = tmp_path / "x"
    write_classes(root / "train", {"cat": 200, "dog": 12, "cow": 1, "Cat ": 12})
    write_classes(root / "test", {"cat": 12, "dgo": 12, "cow": 3}, seed=90_000)
    (root / "train" / "empty").mkdir()
    (root / "train" / "heic").mkdir()
    (root / "train" / "heic" / "a.HEIC").write_bytes(b"x")
    result = check(root)
    assert found(result, "classes in test but not in train: dgo (did you mean dog?)").severity == "error"
    assert found(result, "classes in train but not in test: Cat , dog").severity == "warning"
    empty = found(result, "class folders without images: empty, heic (1 x file ending in .heic)")
    assert empty.severity == "error"
    assert found(result, "a single image in train: cow").severity == "error"
    assert found(result, "fewer than 10 images in test: cow (3)").severity == "warning"
    assert "cat has 200 images, cow 1" in found(result, "strong imbalance").what
    assert "'Cat ' = 'cat'" in found(result, "nearly the same").what
    assert "save them as JPEG" in found(result, "not used: 1 x file ending in .heic").remedy


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ({"a.png": 0, "b.png": 0}, "no images in class folders, but 2 outside of them"),
        ({"photos/cat/a.png": 0, "photos/dog/b.png": 0}, "has one class only (photos)"),
        ({"test/cat/a.png": 0, "val/dog/b.png": 0}, "no train/"),
    ],
)
def test_a_layout_that_training_refuses_is_said_in_the_same_words(
    layout: dict[str, int], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "x"
    for seed, name in enumerate(layout):
        write_image(root / name, noise(8, 8, seed))
    finding = found(check(root), part)
    assert finding.severity == "error"
    assert cli.main(["train", "folder-small", "--data", str(root)]) == 3
    assert f"pictorch: {finding}" in capsys.readouterr().err


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def test_duplicates_are_those_of_decoded_pixels(tmp_path: Path) -> None:
    root = tmp_path / "x"
    write_classes(root / "train", {"a": 150, "b": 150})
    write_classes(root / "test", {"a": 100, "b": 100}, seed=90_000)
    for place in ("train/a", "test/b"):  # the same pixels in another format
        with Image.open(root / "train/a/000.png") as image:
            image.save(root / place / "again.bmp")
    copy(root / "train/b/001.png", root / "test/b/leak.png")
    result = check(root)
    within = found(result, "in train with the pixels of another one there")
    assert within.what.startswith("1 image in train")
    assert within.where == (f"{root}/train/a/000.png = {root}/train/a/again.bmp",)
    leak = found(result, "in test are in train too")
    assert leak.what.startswith("2 of 202 images in test are in train too (0.99 %)")
    assert "by up to 0.99 points" in leak.what
    assert leak.severity == "warning"
    conflict = found(result, "of another class")
    assert conflict.where[0].endswith(f"{root}/test/b/again.bmp (b)")
    assert not result.must_mend


def test_more_than_one_percent_of_test_in_train_must_be_mended(tmp_path: Path) -> None:
    root = tmp_path / "x"
    write_classes(root / "train", {"a": 20, "b": 20})
    write_classes(root / "test", {"a": 20, "b": 20}, seed=90_000)
    copy(root / "train/b/001.png", root / "test/b/leak.png")
    assert found(check(root), "in test are in train too").severity == "error"


def test_copies_in_one_part_tell_of_the_division(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 20, "b": 20})
    copy(root / "a/001.png", root / "a/copy.png")
    assert "val and test are taken from train" in found(check(root), "another one there").remedy


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), min_size=4, max_size=16), st.integers(2, 14))
def test_duplicates_equal_a_plain_count(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[int], border: int
) -> None:
    root = tmp_path_factory.mktemp("dup")
    for number, seed in enumerate(seeds):
        write_image(root / ("a" if number < border else "b") / f"{number}.png", noise(8, 8, seed))
    findings = [f for f in check(root).findings if "of another one there" in f.what]
    extra = len(seeds) - len(set(seeds))
    assert [f.what.split()[0] for f in findings] == ([str(extra)] if extra else [])


def test_sources_in_arrays(tmp_path: Path) -> None:
    made = MadeCifar()
    made.put("test_batch", made.images["data_batch_1"], made.labels["data_batch_1"])
    for source in (made.write_archive(tmp_path), made.write_batches(tmp_path)):
        result = check(source)
        assert found(result, "20 of 20 images in test are in train too (100.00 %)").severity == "error"
    assert check("digits").counts == {"train": 1797}


def test_a_mac_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names are UTF-8 without the flag that says so, with litter beside the photographs."""
    root = write_classes(tmp_path / "照片", {"猫": 12, "狗": 12})
    write_classes(root, {"__MACOSX": 1})
    (root / ".DS_Store").write_bytes(b"x")
    path = zip_folder(root, tmp_path / "mac.zip", "照片/")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] &= ~0x08
            place = data.find(signature, place + 1)
    path.write_bytes(data)
    result = check(path)
    assert result.class_names == ("狗", "猫")
    assert result.findings == ()


def test_a_file_that_may_not_be_read_is_looked_at_again(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 12, "b": 12})
    closed = root / "a" / "000.png"
    kept = closed.read_bytes()
    facts = closed.stat()
    closed.unlink()
    os.mkfifo(closed)  # listed as odd, so it is no image at all
    assert found(check(root), "special file").severity == "info"
    closed.unlink()
    closed.write_bytes(kept)
    os.utime(closed, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert check(root).findings == ()


def test_a_damaged_cache_is_made_again(tmp_path: Path, own_places: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 12, "b": 12})
    first = check(root)
    (survey,) = (own_places / "cache/pictorch/surveys").glob("*/survey.npz")
    survey.write_bytes(survey.read_bytes()[:-50])
    lines: list[str] = []

    class Kept:
        def line(self, text: str, style: str = "") -> None:
            lines.append(text)

    assert pictorch.data_check(root, console=Kept()) == first
    assert any("cannot be used" in line for line in lines)


@pytest.mark.parametrize("source", ["nowhere/photos", "imagenett"])
def test_what_is_not_there(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("show", "check"):
        assert cli.main(["data", verb, source]) == 3
        assert source in capsys.readouterr().err


def test_a_cached_reason_names_the_path_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(tmp_path / "photos")
    check(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    for line in found(check("../photos"), "cannot be read").where:
        assert line.startswith("../photos/")
        assert Path(line.partition(": ")[0]).exists()


def test_a_lack_of_memory_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_classes(tmp_path / "x", {"a": 12, "b": 12})

    def fail(self: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
        assert "not enough memory" in found(check(root), "cannot be read").where[0]
    assert check(root).findings == ()
