"""data.on_bad: skip: what cannot be decoded is left out, listed, and as if it had never been there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pictorch
from made_data import noise, write_classes, write_image, zip_folder
from messages.faults import ordinary_rights
from pictorch.datasets import Splits, decoding, load_splits
from pictorch.datasets.splits import describe_splits
from pictorch.errors import DataError
from pictorch.recipe import DataSection


def load(source: object, on_bad: str = "skip", **data: object) -> tuple[Splits, list[str]]:
    lines: list[str] = []
    section = DataSection.model_validate({"source": str(source), "on_bad": on_bad, **data})
    return load_splits(section, lines.append), lines


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "sound", {"cat": 8, "dog": 8})


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """The same images, and three that cannot be decoded; the first of all is cut and of another size."""
    root = write_classes(tmp_path / "spoiled", {"cat": 8, "dog": 8})
    whole = write_image(root / "cat" / "000+.png", noise(64, 64)).read_bytes()
    (root / "cat" / "000+.png").write_bytes(whole[:-500])
    (root / "cat" / "zzz.png").write_bytes(b"")
    (root / "dog" / "000+.png").write_text("no image")
    return root


def as_list(root: Path, group: str = "") -> Path:
    rows = [
        f"{path.relative_to(root)},{path.parent.name},{path.stem}\n" for path in sorted(root.rglob("*.png"))
    ]
    (root / "list.csv").write_text(f"path,label,{group}\n" + "".join(rows))
    return root / "list.csv"


def as_grouped_list(root: Path) -> Path:
    return as_list(root, "group")


def as_zip(root: Path) -> Path:
    return zip_folder(root, root.with_suffix(".zip"))


@pytest.mark.parametrize("image_size", [None, 4, 16])
@pytest.mark.parametrize("form", [Path, as_list, as_grouped_list, as_zip])
def test_what_is_left_is_as_without_the_bad_ones(
    sound: Path, spoiled: Path, form: Callable[[Path], Path], image_size: int | None
) -> None:
    good, _ = load(form(sound), "stop", image_size=image_size)
    source = form(spoiled)
    left, lines = load(source, image_size=image_size)
    assert left.fingerprint == good.fingerprint
    assert describe_splits(left, "")["split_hashes"] == describe_splits(good, "")["split_hashes"]
    assert [Path(place).name for place, _ in left.skipped] == ["000+.png", "zzz.png", "000+.png"]
    assert [reason.partition(" (")[0] for _, reason in left.skipped][1] == "the file is empty"
    assert lines[-1].startswith("3 of 19 images cannot be used and are skipped, first ")
    again, lines = load(source, image_size=image_size)
    assert describe_splits(again, "") == describe_splits(left, "")
    assert len(lines) == 1  # nothing is decoded again, and what is missing is told at every use


def test_without_skip_all_of_them_are_an_error_and_the_cache_is_apart(spoiled: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"3 of 19 images cannot be used, first .*set data\.on_bad to skip"
        ):
            load(spoiled, "stop", image_size=8)
        load(spoiled, image_size=8)


def test_sound_images_are_the_same_with_both(sound: Path) -> None:
    (left, _), (good, _) = load(sound, "skip"), load(sound, "stop")
    assert (left.fingerprint, left.skipped) == (good.fingerprint, ())


def test_the_record_lists_them(spoiled: Path) -> None:
    record = describe_splits(load(spoiled)[0], "x")
    assert json.loads(json.dumps(record))["skipped"][1] == {
        "place": f"{spoiled}/cat/zzz.png",
        "reason": "the file is empty (0 bytes); copy it again",
    }


def test_lines_and_images_are_listed_together(spoiled: Path) -> None:
    path = as_list(spoiled)
    path.write_text(path.read_text() + "none.png,dog\n")
    splits, lines = load(path)
    assert [place.split("/")[-1] for place, _ in splits.skipped] == [
        "list.csv, line 21: none.png,dog", "000+.png", "zzz.png", "000+.png"
    ]  # fmt: skip
    assert [line.partition(" cannot")[0] for line in lines[-2:]] == ["1 of 20 lines", "3 of 19 images"]


@pytest.mark.slow
def test_a_run_that_skipped_what_is_mended_now_says_so(spoiled: Path, tmp_path: Path) -> None:
    changes = {
        "data.on_bad": "skip",
        "data.image_size": 8,
        "model.name": "simple_net",
        "augment.crop_padding": 0,
        "train.epochs": 1,
        "train.threads": 1,
    }
    result = pictorch.train("folder-small", data=spoiled, out=tmp_path / "run", set=changes)
    (spoiled / "cat" / "zzz.png").unlink()
    write_image(spoiled / "dog" / "000+.png", noise(64, 64))
    with pytest.raises(DataError, match=r"differs: 3 were skipped then, 1 now\); .*or train anew"):
        pictorch.evaluate(result.run)


def test_a_class_or_part_must_not_vanish(sound: Path) -> None:
    for path in (sound / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"8 of 16 images cannot be used, and none is left in dog; mend them"):
        load(sound)
    parts = write_classes(sound.parent / "parts" / "train", {"cat": 4, "dog": 4}).parent
    write_image(parts / "test" / "cat" / "0.png", noise(8, 8)).write_bytes(b"")
    with pytest.raises(DataError, match="none is left in the part test"):
        load(parts)


def test_a_file_that_may_not_be_read_stops_all_the_same(spoiled: Path) -> None:
    """It may be a good image, and another time it would be there."""
    os.chmod(spoiled / "dog" / "003.png", 0)
    told = r"1 of 19 images cannot be used, first .*dog/003.png: cannot be read"
    with ordinary_rights(), pytest.raises(DataError, match=told):
        load(spoiled)


def test_too_little_memory_stops_all_the_same(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, side: int, name: str, fit: str) -> object:
        try:
            raise MemoryError
        except MemoryError:
            raise DataError(f"{name}: not enough memory to decode it") from None

    monkeypatch.setattr(decoding, "decode", decode)
    with pytest.raises(DataError, match=r"19 of 19 images cannot be used.*not enough memory"):
        load(spoiled)
