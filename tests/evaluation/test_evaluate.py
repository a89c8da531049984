"""An evaluation is exact, repeatable from its stored logits, and counts each opening of the test set."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss

import pictorch
from pictorch import durable
from pictorch.errors import DataError, RecipeError
from pictorch.metrics.interval import wilson_interval
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

QUIET = Console("quiet")


def digits_recipe(**train: Any) -> dict[str, Any]:
    return {
        "name": "digits",
        "data": {"source": "digits", "test_fraction": 0.2},
        "model": {"name": "cifar10_cnn"},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "train": {"epochs": 3, "threads": 1, "save_every_epochs": 1, "ema_decay": 0.9, **train},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate") / "run"
    pictorch.train(digits_recipe(), out=path, console=QUIET)
    pictorch.export(path)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("checkpoint", ["best", "last", "epoch-1", "epoch-0002"])
def test_validation_is_exactly_what_training_printed(run: Path, checkpoint: str) -> None:
    result = pictorch.evaluate(run, split="val", checkpoint=checkpoint)
    folder = RunFolder.open(run)
    printed = durable.read_manifest(folder.checkpoint_path(result.checkpoint))["metrics"]
    assert (result.accuracy, result.loss) == (printed["val_accuracy"], printed["val_loss"])
    assert result.step == printed["step"]
    if checkpoint == "best":
        best = max(line["val_accuracy"] for line in folder.metrics() if line["kind"] == "epoch")
        assert result.accuracy == best


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "float64"])
def test_the_same_in_other_arithmetic(precision: str) -> None:
    pictorch.train(digits_recipe(precision=precision, epochs=0.2), out="run", console=QUIET)
    (printed,) = (line for line in RunFolder.open("run").metrics() if line["kind"] == "epoch")
    result = pictorch.evaluate("run")
    assert (result.accuracy, result.loss) == (printed["val_accuracy"], printed["val_loss"])


@pytest.mark.parametrize("eval_batch_size", [1, 7, 359, 1000])
def test_every_image_counts_once_for_any_batch_size(run: Path, eval_batch_size: int) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(
        recipe.read_text().replace("eval_batch_size: 200", f"eval_batch_size: {eval_batch_size}")
    )
    result = pictorch.evaluate(run, split="test")
    assert result.n == 359 == sum(map(sum, result.confusion)) == sum(row.n for row in result.per_class)


def test_all_follows_from_the_stored_logits(run: Path) -> None:
    result = pictorch.evaluate(run, split="test")
    arrays = RunFolder.open(run).evaluation_arrays("test")
    logits, labels = arrays["logits"].astype(np.float64), arrays["labels"]
    predicted = logits.argmax(1)
    assert result.accuracy == np.mean(predicted == labels)
    assert result.accuracy_interval == wilson_interval(int(np.sum(predicted == labels)), 359)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert result.loss == pytest.approx(log_loss(labels, probabilities))
    np.testing.assert_array_equal(result.confusion, confusion_matrix(labels, predicted))
    assert len(arrays["mistakes"]) == min(24, int(np.sum(predicted != labels)))
    assert np.all(predicted[arrays["mistakes"]] != labels[arrays["mistakes"]])
    confidence = probabilities.max(1)
    right = np.flatnonzero(predicted == labels)
    assert confidence[arrays["hits"]] == pytest.approx(np.sort(confidence[right])[:24])
    assert confidence[arrays["typicals"]] == pytest.approx([np.sort(confidence[right])[len(right) // 2]])
    assert len(arrays["hit_images"]) == 24
    assert len(arrays["typical_images"]) == 1


def test_training_records_the_scores_that_evaluation_gives(run: Path) -> None:
    result = pictorch.evaluate(run)
    best = [line for line in RunFolder.open(run).metrics() if line["kind"] == "epoch" and line["best"]][-1]
    for key in ("precision", "recall", "f1"):
        scores = [getattr(row, key) for row in result.per_class]
        assert best["val_classes"][key] == [round(one, 4) for one in scores]


def test_openings_of_the_test_set_are_counted(run: Path) -> None:
    assert pictorch.evaluate(run, split="val").test_openings == 0
    assert pictorch.evaluate(run, split="test").test_openings == 1
    assert pictorch.evaluate(run, split="test").test_openings == 2
    assert pictorch.evaluate(run, split="val").test_openings == 2
    assert RunFolder.open(run).data()["test_openings"] == 2


def test_views_are_judged_beside_the_images_alone(run: Path) -> None:
    folder, plain = RunFolder.open(run), pictorch.evaluate(run, split="test")
    assert "views" not in json.loads((run / "evaluation/test.json").read_text())
    logits = folder.evaluation_arrays("test")["logits"]
    both = pictorch.evaluate(run, split="test", views="flip_shift")
    arrays, views = folder.evaluation_arrays("test"), both.views
    assert views is not None
    assert replace(both, views=None, test_openings=1) == plain
    assert (both.test_openings, folder.data()["test_openings"]) == (2, 2), "one opening for both figures"
    np.testing.assert_array_equal(arrays["logits"], logits)
    labels, mean = arrays["labels"], arrays["views_logits"].astype(np.float64)
    assert views.accuracy == np.mean(mean.argmax(1) == labels) != plain.accuracy
    powers = np.exp(mean - mean.max(1, keepdims=True))
    assert views.loss == pytest.approx(log_loss(labels, powers / powers.sum(1, keepdims=True)))
    assert (views.share, views.passes_per_image, views.below) == (1, 6, None)
    assert folder.evaluation("test") == both


def test_the_unsure_alone_are_shown_in_views(run: Path, tmp_path: Path) -> None:
    folder, every = RunFolder.open(run), pictorch.evaluate(run, split="test", views="flip")
    kept = folder.evaluation_arrays("test")
    some = pictorch.evaluate(run, split="test", views="flip", views_below=0.9)
    arrays = folder.evaluation_arrays("test")
    powers = np.exp(kept["logits"].astype(np.float64))
    unsure = powers.max(1) / powers.sum(1) < 0.9
    assert some.views is not None
    assert (some.views.share, some.views.passes_per_image) == (unsure.mean(), 1 + unsure.mean())
    assert 0 < unsure.mean() < 1
    np.testing.assert_array_equal(arrays["views_logits"][~unsure], kept["logits"][~unsure])
    np.testing.assert_allclose(arrays["views_logits"][unsure], kept["views_logits"][unsure], atol=1e-5)
    of_bundle = pictorch.evaluate(
        run / "bundle", split="test", data="digits", out=tmp_path / "judged", views="flip"
    )
    assert of_bundle.views is not None
    assert every.views is not None
    assert of_bundle.views.accuracy == every.views.accuracy
    assert of_bundle.views.loss == pytest.approx(every.views.loss, abs=1e-5)


def test_a_bundle_is_evaluated_without_being_changed(run: Path, tmp_path: Path) -> None:
    bundle = run / "bundle"
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    of_bundle = pictorch.evaluate(bundle, split="test", data="digits", out=tmp_path / "judged")
    of_run = pictorch.evaluate(run, split="test")
    assert of_bundle.confusion == of_run.confusion
    assert of_bundle.loss == pytest.approx(of_run.loss, abs=1e-5)
    assert json.loads((tmp_path / "judged/test.json").read_text())["n"] == 359
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    with pytest.raises(RecipeError, match="never changes"):
        pictorch.evaluate(bundle, split="test", data="digits", out=bundle / "judged")
    with pytest.raises(RecipeError, match="--data SOURCE and --out DIR"):
        pictorch.evaluate(bundle, split="test")


def test_training_on_everything_has_no_best_and_no_validation() -> None:
    recipe = digits_recipe(epochs=1)
    recipe["data"]["val_fraction"] = 0
    result = pictorch.train(recipe, out="run", console=QUIET)
    assert result.best_epoch is None
    assert result.val_accuracy is None
    assert result.checkpoint == "last"
    assert RunFolder.open("run").data()["counts"] == {"train": 1438, "val": 0, "test": 359}
    with pytest.raises(DataError, match="use `--split test`"):
        pictorch.evaluate("run")
    assert pictorch.evaluate("run", split="test").checkpoint == "last"


def test_other_images_are_refused(run: Path, tmp_path: Path) -> None:
    from made_data import write_classes

    other = write_classes(tmp_path / "other", {str(digit): 4 for digit in range(10)})
    with pytest.raises(DataError, match="fingerprint differs"):
        pictorch.evaluate(run, data=other)
    with pytest.raises(RecipeError, match="leave out --out"):
        pictorch.evaluate(run, out=tmp_path / "x")
