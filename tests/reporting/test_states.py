"""The page of a run in whatever state: begun, stopped, without parts, of an older version."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from made_run import NAMES
from parsed_page import MakeRun, read, windows
from pictorch.metrics import score, wilson_interval
from pictorch.run_folder import Evaluation, RunFolder
from pictorch.views import ViewScores


def test_before_any_evaluation_the_best_epoch_leads(make_run: MakeRun) -> None:
    run = make_run(splits=())
    page = read(run)
    low, high = wilson_interval(39, 60)
    number = ["65.00", "%", f"95 % interval {low * 100:.2f}–{high * 100:.2f} %, n = 60"]
    assert number in windows(page.cells, 3)
    assert "after epoch 2, the best of 3" in page.text
    assert "Test accuracy" not in page.text
    assert f"Run: pictorch evaluate '{run.path}' --split test" in page.text
    assert page.text.count(f"pictorch evaluate '{run.path}' --split val") == 4
    assert ["Test set opened", "never"] in windows(page.cells, 2)


def test_validation_is_shown_where_the_test_was_not_opened(make_run: MakeRun) -> None:
    page = read(make_run(splits=("val",)))
    assert "60 validation images, checkpoint best" in page.text
    assert "Test accuracy" not in page.text


def test_without_validation_and_without_a_test_part(make_run: MakeRun) -> None:
    data = {
        "fingerprint": "f00d",
        "input": {},
        "class_names": list(NAMES),
        "counts": {"train": 1200, "val": 0, "test": 0},
        "class_counts": {"train": [400, 400, 400], "val": [], "test": []},
    }
    page = read(make_run(data=data, splits=(), validated=False, overrides=("data.val_fraction=0",)))
    assert "no test part" in page.text
    assert "trains on all training images" in page.text
    assert "Test set opened" not in page.text
    assert "Validation accuracy" not in page.text
    assert ["cat", "400", "<b>dog</b>", "400"] in windows(page.cells, 4)


def test_an_unfinished_run_says_how_to_go_on(make_run: MakeRun) -> None:
    run = make_run(epochs=1, finished=False)
    page = read(run)
    assert ["Epochs", "1 of 3"] in windows(page.cells, 2)
    assert f"Training is not finished. Run: pictorch train --resume '{run.path}'" in page.text
    assert "stopped early" not in page.text


def test_a_run_that_stopped_early_is_finished(make_run: MakeRun) -> None:
    page = read(make_run(epochs=2))
    assert ["Epochs", "2 of 3", "stopped early"] in windows(page.cells, 3)
    assert "not finished" not in page.text


def test_an_added_segment_counts_as_planned(make_run: MakeRun) -> None:
    run = make_run()
    run.write_segments(
        [
            {"first_epoch": 0, "epochs": 3, "peak_factor": 1.0},
            {"first_epoch": 3, "epochs": 2, "peak_factor": 0.1},
        ]
    )
    assert "3 of 5" in read(run).cells


def test_inside_the_first_epoch_steps_are_drawn(make_run: MakeRun) -> None:
    run = make_run(epochs=0, splits=(), samples=False)
    for step in (1, 2):
        run.append_metrics(
            {"kind": "step", "epoch": 1, "step": step, "loss": 2.5, "lr": 0.05, "gradient_norm": None}
        )
    page = read(run)
    assert "single steps" in page.text
    assert "Accuracy: not recorded yet." in page.text
    assert "Gradient norm: not recorded" in page.text
    assert "No epoch is finished yet." in page.text
    assert "step" in page.cells


def test_gradient_norms_come_from_where_there_are_more_of_them(make_run: MakeRun) -> None:
    run = make_run(epochs=2, splits=(), samples=False)
    assert "Gradient normlast 0.75" in read(run).text
    (run.path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in run.metrics() if line["kind"] == "epoch")
    )
    assert "Gradient normlast 0.55" in read(run).text


def test_a_run_with_nothing_but_its_recipe(make_run: MakeRun) -> None:
    data = {"fingerprint": "f00d", "input": {}, "class_names": [], "counts": {}}
    run = make_run(network={}, environment={}, data=data, epochs=0, splits=(), samples=False)
    page = read(run)
    for line in (
        "No training step is recorded yet.",
        "Nothing has been evaluated yet.",
        "This run keeps no sample pictures",
        "The layers were not recorded.",
        "The environment was not recorded.",
        "The images of each class were not counted.",
    ):
        assert line in page.text
    assert ["optimizer.lr", "0.05", "required"] in windows(page.cells, 3)


def test_a_perfect_classifier_has_no_mistakes(make_run: MakeRun) -> None:
    run = make_run(splits=())
    write_perfect(run)
    page = read(run)
    assert page.text.count("There is none: every answer is right.") == 2
    assert "100.00" in page.cells


def test_an_evaluation_that_training_has_left_behind(make_run: MakeRun) -> None:
    run = make_run()
    assert "Training went on" not in read(run).text
    assert "The checkpoint, best (epoch 2 of 3), was chosen" in read(run).text
    run.append_metrics({**run.metrics()[-1], "epoch": 4, "step": 40, "best": True})
    page = read(run)
    assert "Training went on: its best is newer than what is judged." in page.text
    assert f"pictorch evaluate '{run.path}' --split test" in page.text


def test_a_run_from_before_scores_and_hits_were_kept(make_run: MakeRun) -> None:
    run = make_run()
    lines = [{key: value for key, value in line.items() if key != "val_classes"} for line in run.metrics()]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for split in ("val", "test"):
        evaluation, arrays = run.evaluation(split), run.evaluation_arrays(split)
        assert evaluation is not None
        kept = ("logits", "labels", "mistakes", "mistake_images")
        run.write_evaluation(evaluation, {name: arrays[name] for name in kept})
    page = read(run)
    assert "Over the epochs" not in page.text
    assert "has kept no pictures of its hits" in page.text
    assert "The surest mistake" in page.text
    assert "A usual hit" not in page.text


def test_the_figure_of_several_views_stands_beside_that_of_the_images(make_run: MakeRun) -> None:
    run = make_run()
    evaluation, arrays = run.evaluation("test"), run.evaluation_arrays("test")
    assert evaluation is not None
    views = ViewScores("flip", None, 0.987, (0.98, 0.99), 0.1, None, 1.0, 2.0)
    run.write_evaluation(replace(evaluation, views=views), arrays)
    page = read(run)
    assert "98.70 % (95 % interval 98.00–99.00 %) of the same images" in page.text
    assert "flip for all images, 2.00 passes an image" in page.text
    assert f"{evaluation.accuracy * 100:.2f}" in page.cells


def write_perfect(run: RunFolder) -> None:
    """Stores an evaluation in which every answer is right."""
    labels = np.arange(30) % 3
    logits = 9 * np.eye(3, dtype=np.float32)[labels]
    none: Any = np.zeros((0, 8, 8, 3), np.uint8)
    run.write_evaluation(
        Evaluation(
            split="test", checkpoint="last", step=40, test_openings=1, **vars(score(logits, labels, NAMES))
        ),
        {"logits": logits, "labels": labels, "mistakes": np.zeros(0, np.int64), "mistake_images": none},
    )
