"""`data show`: the figures are those of the images, and the pictures show what training sees."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pictorch
from made_data import noise, write_classes, write_image, zip_folder
from pictorch import cli
from pictorch.datasets import load_splits
from pictorch.datasets.batches import TrainingBatches, channel_statistics
from pictorch.errors import RecipeError
from pictorch.recipe import AugmentSection
from pictorch.recipe.files import load_recipe

ROOT = Path(__file__).parents[2]


def picture(path: str) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def holds(sheet: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the tile lies somewhere in the sheet, pixel for pixel."""
    first = np.argwhere((sheet == tile[0, 0]).all(axis=2))
    side = len(tile)
    return any(np.array_equal(sheet[y : y + side, x : x + side], tile) for y, x in first)


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def test_figures_of_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "show", "digits", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["n"], value["recipe"], value["unreadable"]) == (1797, "digits", 0)
    assert value["shapes"] == [{"width": 8, "height": 8, "n": 1797}]
    assert {name: sum(counts) for name, counts in value["class_counts"].items()} == {
        "train": 1293,
        "val": 145,
        "test": 359,
    }
    assert all(Path(path).parent == Path("digits-pictures") for path in value["pictures"].values())
    mean, std = channel_statistics(load_splits(load_recipe("digits").data).train)
    assert value["channel_mean"] == pytest.approx(mean, abs=1e-12)
    assert value["channel_std"] == pytest.approx(std, abs=1e-12)
    assert value["channel_range"] == [[0, 255]] * 3


@pytest.mark.parametrize("parts", [("train",), ("train", "test")])
def test_channels_are_those_of_the_training_images(parts: tuple[str, ...], tmp_path: Path) -> None:
    for number, part in enumerate(parts):
        for label, name in enumerate("ab"):
            for index in range(8):
                seed = 100 * number + 20 * label + index
                pixels = noise(8, 8, seed) // (2, 3, 4) + (number + label, 1, seed % 50)
                write_image(tmp_path / "x" / part / name / f"{index}.png", pixels.astype(np.uint8))
    recipe = load_recipe("folder-small", {"data.source": str(tmp_path / "x"), "data.image_size": None})
    result = pictorch.data_show(tmp_path / "x", recipe=recipe, out=tmp_path / "out")
    train = load_splits(recipe.data).train
    mean, std = channel_statistics(train)
    assert result.channel_mean == pytest.approx(mean, abs=1e-12)
    assert result.channel_std == pytest.approx(std, abs=1e-12)
    images = train.images[train.indices]
    ends = zip(images.min(axis=(0, 1, 2)).tolist(), images.max(axis=(0, 1, 2)).tolist(), strict=True)
    assert result.channel_range == tuple(ends)


def test_what_cannot_be_read_counts_for_no_channel(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 5, "b": 5})
    everything = {"data.val_fraction": 0, "data.test_fraction": 0, "data.image_size": None}
    recipe = load_recipe("folder-small", {"data.source": str(root), **everything})
    whole = pictorch.data_show(root, recipe=recipe, out=tmp_path / "out")
    (root / "a" / "empty.png").write_bytes(b"")
    found = pictorch.data_show(root, recipe=recipe, out=tmp_path / "out")
    assert found.unreadable == 1
    assert (found.channel_range, found.channel_mean, found.channel_std) == (
        whole.channel_range,
        whole.channel_mean,
        whole.channel_std,
    )


def test_augmented_images_are_those_of_training(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 6, "b": 6}, side=16)
    changes = {
        "augment.crop_padding": 3,
        "augment.cutout": 4,
        "data.source": str(root),
        "data.image_size": None,
    }
    recipe = load_recipe("folder-small", changes)
    result = pictorch.data_show(root, recipe=recipe, out=tmp_path / "out")
    sheet = picture(result.pictures["augmented"])
    splits = load_splits(recipe.data)
    mean, _ = channel_statistics(splits.train)
    import torch

    batches = TrainingBatches(
        splits.train,
        recipe.augment,
        seed=recipe.train.seed,
        batch_size=4,
        num_classes=2,
        mean_color=np.rint(np.array(mean) * 255).astype(np.uint8),
        device=torch.device("cpu"),
    )
    stored, augmented, _ = batches.examples(np.arange(len(splits.train)))
    shown = [
        (holds(sheet, enlarged(a, 6)), holds(sheet, enlarged(b, 6)))
        for a, b in zip(stored, augmented, strict=True)
    ]
    assert shown.count((True, True)) == 6
    assert (True, False) not in shown


def tiles(path: str) -> np.ndarray:
    """Returns the images of augmented.png that are 16 pixels large, uint8 (column, row, 16, 16, 3)."""
    sheet, left = picture(path), []
    for x in range(45, sheet.shape[1]):
        column = sheet[110 : 110 + 96, x].astype(int)
        if (column < 250).mean() > 0.5 and (not left or x >= left[-1] + 104):
            left.append(x)
    assert len(left) == 6
    return np.stack(
        [[sheet[y : y + 96 : 6, x : x + 96 : 6] for y in range(110, 110 + 6 * 104, 104)] for x in left]
    )


def test_mixed_images_are_shown(tmp_path: Path) -> None:
    import torch

    from pictorch.datasets.mixing import draw_mix, mixed

    root = write_classes(tmp_path / "x", {"a": 6, "b": 6}, side=16)
    changes: dict[str, Any] = {"data.source": str(root), "data.image_size": None, "augment.crop_padding": 0}
    changes |= {"augment.policy": "trivial_augment", "augment.erasing": 0.5}
    found = {}
    for name, more in {"plain": {}, "mixed": {"augment.mixup": 1.0, "augment.cutmix": 1.0}}.items():
        recipe = load_recipe("folder-small", changes | more)
        result = pictorch.data_show(root, recipe=recipe, out=tmp_path / name)
        found[name] = tiles(result.pictures["augmented"])
    np.testing.assert_array_equal(found["mixed"][0], found["plain"][0])
    for epoch in range(5):
        mix = draw_mix(recipe.augment, 16, seed=recipe.train.seed, step=epoch)
        plain = torch.from_numpy(found["plain"][epoch + 1])
        expected, _ = mixed(plain, torch.zeros(6, dtype=torch.int64), mix, 2)
        np.testing.assert_array_equal(found["mixed"][epoch + 1], expected.numpy())


def test_what_a_recipe_does_is_said_above_its_images() -> None:
    from pictorch.datasets.show import described

    section = AugmentSection(flip="random", crop_padding=4, hue=0.1)
    assert described(section) == "flip random, crop padding 4 (reflect), hue 0.1"
    section = AugmentSection(policy="rand_augment", mixup=1.0, resized_crop=0.3)
    assert described(section) == "resized crop 0.3, policy rand_augment (2 of strength 9), mixup 1"
    assert described(AugmentSection()) == "no augmentation"


def test_shapes_and_table_of_mixed_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "x", {"猫": 12, "dog [red]": 12}, side=20)
    for number in range(4):
        write_image(root / "猫" / f"large {number}.png", noise(30 + number, 90, number))
    (root / "猫" / "empty.png").write_bytes(b"")
    assert cli.main(["data", "show", str(root), "--recipe", "cifar10-cnn"]) == 0
    out = capsys.readouterr().out
    assert "5 different ones, from 20 x 20 to 90 x 33 pixels; most often 20 x 20 pixels (24)" in out
    assert "dog [red]" in out
    assert "猫" in out
    assert "1 of these files cannot be read" in out
    assert "--set data.image_size=" in out
    assert "next:" in out


@pytest.mark.filterwarnings("error")
def test_class_names_of_any_script_and_of_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ["a$b$ c^2_x", "\ue000 private", "Ωμέγα", "x" * 60, "𓀀"]
    root = write_classes(tmp_path / "x", dict.fromkeys(names, 3), side=16)
    result = pictorch.data_show(root, out=tmp_path / "out")
    assert len(result.notes) == 1
    assert "the pictures number them" in result.notes[0]
    assert capfd.readouterr().err == ""


def test_names_are_drawn_with_a_font_that_has_them() -> None:
    from pictorch.datasets.pictures import Lettering

    lettering = Lettering.of(["寺庙", "cat", "𓀀"])
    assert lettering.numbered["𓀀"] == "class 2"
    assert lettering("cat") == "cat"
    assert lettering("寺庙") == ("class 0" if len(lettering.families) == 1 else "寺庙")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [13, 75])
def test_many_classes(classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "x", {f"class {n:03}": 3 + n % 2 for n in range(classes)}, side=4)
    assert cli.main(["data", "show", str(root)]) == 0
    assert ("and 35 smaller ones" in capsys.readouterr().out) == (classes == 75)
    for path in Path("x-pictures").iterdir():
        assert max(picture(str(path)).shape) < 3000


def test_an_augmentation_that_does_not_fit_is_a_note(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 4, "b": 4}, side=8)
    result = pictorch.data_show(root, out=tmp_path / "out")
    assert result.notes[0].startswith("training would refuse: augment.crop_padding: 8 needs images")


def test_where_nothing_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "x", {"a": 3, "b": 3})
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert cli.main(["data", "show", str(root)]) == 0
    out = capsys.readouterr().out
    assert "no image can be read" in out
    assert "6 of these files cannot be read" in out


def test_a_zip_looks_like_its_folder(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 4, "b": 4})
    first = pictorch.data_show(root, out=tmp_path / "one")
    second = pictorch.data_show(zip_folder(root, tmp_path / "x.zip"), out=tmp_path / "two")
    for name, path in first.pictures.items():
        assert Path(path).read_bytes() == Path(second.pictures[name]).read_bytes()


def test_pictures_never_go_among_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_classes(tmp_path / "x", {"a": 3, "b": 3})
    before = sorted(root.rglob("*"))
    monkeypatch.chdir(root)
    with pytest.raises(RecipeError, match="choose another with `--out DIR`"):
        pictorch.data_show(".")
    with pytest.raises(RecipeError, match="lies among the images"):
        pictorch.data_show(root, out=root / "a")
    assert sorted(root.rglob("*")) == before


def test_matplotlib_has_two_doors_and_keeps_no_state() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "src/pictorch").rglob("*.py")}
    assert sorted(name for name in sources if "from matplotlib" in sources[name]) == [
        "picture.py",
        "pictures.py",
    ]
    assert not any("pyplot" in text or "import matplotlib" in text for text in sources.values())


def test_samples_are_training_images_only(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "x", {"a": 8, "b": 8}, side=8)
    recipe = load_recipe("folder-small", {"data.source": str(root), "data.image_size": None})
    sheet = picture(pictorch.data_show(root, recipe=recipe, out=tmp_path / "out").pictures["samples"])
    for name, split in load_splits(recipe.data).named().items():
        for row in split.indices:
            assert holds(sheet, enlarged(split.images[row], 12)) == (name == "train")


@pytest.mark.slow
def test_next_lines_work_when_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "x", {"a": 4, "b": 4}, side=40)
    write_image(root / "a" / "large.png", noise(50, 60))
    mine = tmp_path / "my own.yaml"
    mine.write_text((ROOT / "src/pictorch/packaged_recipes/cifar10-cnn.yaml").read_text())
    for recipe, said in (("cifar10-cnn", "cifar10-cnn"), (str(mine), f"'{mine}'")):
        cli.main(["data", "show", str(root), "--recipe", recipe])
        assert f"train {said} --data {root} --set data.image_size=64" in capsys.readouterr().out
    (root / "a" / "empty.png").write_bytes(b"")
    cli.main(["data", "show", str(root)])
    out = capsys.readouterr().out
    assert f"data check {root}" in out
    assert "train folder-small" not in out


def test_no_source_is_refused_as_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "show", ""]) == 3
    assert "unknown data source ''" in capsys.readouterr().err


def test_control_characters_never_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_classes(tmp_path / "x", {"ctrl\x1b[31mred": 4, "line\nbreak": 4})
    cli.main(["data", "show", str(root)])
    out = capsys.readouterr().out
    assert "ctrl\\x1b[31mred" in out
    assert "line\\nbreak" in out


def test_names_are_cut_by_what_they_take() -> None:
    from pictorch.datasets.pictures import Lettering

    lettering = Lettering.of(["W" * 20, "i" * 20])
    assert lettering("i" * 20) == "i" * 20
    assert lettering("W" * 20).endswith("W…")
    assert lettering.width(lettering("W" * 20)) <= 190
    assert lettering.width(lettering("W" * 20, 6, 112), 6) <= 112
