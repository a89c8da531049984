"""The page as a whole: well-formed, offline, escaped, true to the files, and never without a run."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from made_run import NAMES
from parsed_page import MakeRun, read, windows
from pictorch.errors import CheckpointError, ResourceError
from pictorch.metrics import most_confident_mistakes, probabilities
from pictorch.reporting import render_report, report
from pictorch.run_folder import RunFolder


def test_report_is_written_into_the_run(make_run: MakeRun) -> None:
    run = make_run()
    path = report(run.path)
    assert path == run.report_path
    assert report(str(run.path)).read_bytes() == path.read_bytes()
    assert not list(run.path.glob(".*"))


def test_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run folder"):
        report(tmp_path)


def test_a_page_that_cannot_be_written(make_run: MakeRun) -> None:
    run = make_run()
    run.report_path.mkdir()
    with pytest.raises(ResourceError, match="cannot write"):
        render_report(run)


def test_headline_is_the_evaluation_in_the_file(make_run: MakeRun) -> None:
    run = make_run()
    run.count_test_opening()
    page = read(run)
    for split in ("test", "val"):
        stored = json.loads((run.path / "evaluation" / f"{split}.json").read_text())
        low, high = (100 * end for end in stored["accuracy_interval"])
        note = f"95 % interval {low:.2f}–{high:.2f} %, n = {stored['n']}"
        number = [f"{stored['accuracy'] * 100:.2f}", "%", note]
        assert number in windows(page.cells, 3)
        stored = json.loads((run.path / "evaluation" / "test.json").read_text())
    assert f"{stored['loss']:.4f}" in page.cells
    assert f"{stored['macro']['f1']:.4f}" in page.cells
    assert page.text.index("Test accuracy") < page.text.index("Validation accuracy")
    assert "The checkpoint, best (epoch 2 of 3), was chosen on 60 other, validation images." in page.text
    assert "2 times" in page.cells
    assert "choices made after the first flatter the figure" in page.text
    assert "3 min 16 s" in page.cells
    assert "1,236 images/s, median epoch · A&B 3000" in page.text
    assert 'class="missing"' not in page.html


def test_class_table_and_confusion_are_those_of_the_file(make_run: MakeRun) -> None:
    run = make_run()
    page = read(run)
    evaluation = run.evaluation("test")
    assert evaluation is not None
    for row in evaluation.per_class:
        numbers = [f"{value:.4f}" for value in (row.precision, row.recall, row.f1, row.auc)]
        assert [row.name, str(row.n), *numbers] in windows(page.cells, 6)
    for name, counts in zip(NAMES, evaluation.confusion, strict=True):
        shares = [100 * count / sum(counts) for count in counts]
        pairs = zip(counts, shares, strict=True)
        row = [name]
        for n, share in pairs:
            row += [str(n), f"{share:.{1 if share < 9.95 else 0}f}"] if n else ["·"]
        assert row in windows(page.cells, len(row))
    wrong = {(i, j): evaluation.confusion[i][j] for i in range(3) for j in range(3) if i != j}
    (i, j), count = max(wrong.items(), key=lambda pair: pair[1])
    share = f"{100 * count / sum(evaluation.confusion[i]):.1f} %"
    assert [NAMES[i], NAMES[j], str(count), share] in windows(page.cells, 4)


def test_mistakes_stand_in_order_with_their_confidence(make_run: MakeRun) -> None:
    run = make_run()
    page = read(run)
    arrays = run.evaluation_arrays("test")
    rows = most_confident_mistakes(arrays["logits"], arrays["labels"])
    answers = probabilities(arrays["logits"])[rows]
    expected = [
        ["true", NAMES[label], "answer", NAMES[answer.argmax()], f"{answer.max() * 100:.1f} % sure"]
        for label, answer in zip(arrays["labels"][rows], answers, strict=True)
    ]
    found = [window for window in windows(page.cells, 5) if window[0] == "true" and window[2] == "answer"]
    assert found == expected
    wrong = np.sum(arrays["logits"].argmax(axis=1) != arrays["labels"])
    assert f"The {len(rows)} most confident of {wrong} mistakes in 90 images" in page.text
    assert sum(name == "img" for name, _ in page.tags) == len(rows) + 24 + 3 + 2 * 4


def test_epochs_show_the_lines_of_both_files(make_run: MakeRun) -> None:
    page = read(make_run())
    epoch_2 = ["2", "best", "0.6172", "70.00 %", "0.6789", "65.00 %", "65.2", "1,236", "346 MB"]
    assert epoch_2 in windows(page.cells, len(epoch_2))
    assert page.cells.count("best") == 1 + 2
    assert "training, last 0.4115" in page.text
    assert "validation, last 75 %" in page.text
    assert sum(name == "svg" for name, _ in page.tags) == 4 + 3 + 3


def test_recipe_marks_what_differs_from_its_default(make_run: MakeRun) -> None:
    page = read(make_run(overrides=("augment.flip=random", "train.clip_norm=null")))
    marked = re.findall(r"<mark>([^<]*)</mark>", page.html)
    assert marked == ["Marked", "digits", "random", "17"]
    assert ["augment.flip", "random", "none"] in windows(page.cells, 3)
    assert ["optimizer.lr", "0.05", "required"] in windows(page.cells, 3)
    assert ["train.clip_norm", "null", "null"] in windows(page.cells, 3)


def test_data_layers_and_environment(make_run: MakeRun) -> None:
    page = read(make_run())
    assert ["<b>dog</b>", "400", "20", "30"] in windows(page.cells, 4)
    assert ["all", "1,200", "60", "90"] in windows(page.cells, 4)
    assert ["network.conv1", "Conv2d", "16 × 8 × 8", "448", "27,648"] in windows(page.cells, 5)
    assert ["platform", "Linux <x86>"] in windows(page.cells, 2)
    assert ["train.precision", "float32", "no bf16 <here>", "1.75 <times>"] in windows(page.cells, 4)
    assert ["numpy", "2.4.6"] in windows(page.cells, 2)
    assert ["command", "pictorch train made-up"] in windows(page.cells, 2)


def test_names_are_text_whatever_they_hold(make_run: MakeRun) -> None:
    evil = ("<script>alert(1)</script>", '" onload="x', "it's & <!-- 猫")
    page = read(make_run(name="<i>it & me", class_names=evil))
    assert "<i>it & me · digits · simple_net" in page.text
    for name in evil:
        assert name in page.cells
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "alert(1)" not in re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)[0]
    assert page.values("onload") == []


def test_control_characters_do_not_reach_the_page(make_run: MakeRun) -> None:
    page = read(make_run(class_names=("a\x00b", "c\x1b[31m", "d")))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", page.html)
    assert "a\N{REPLACEMENT CHARACTER}b" in page.cells


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "drawn"), [(100, False), (130, True)])
def test_many_classes_are_drawn_as_a_picture(make_run: MakeRun, classes: int, drawn: bool) -> None:
    page = read(make_run(class_names=tuple(f"class {c}" for c in range(classes))))
    assert (f"Confusion matrix of {classes} classes" in page.html) is drawn
    assert ("true ↓ answer →" in page.text) is not drawn
    assert len(page.html) < 2_000_000


@pytest.mark.slow
def test_a_large_run_stays_small_and_fast(make_run: MakeRun) -> None:
    """A hundred classes, 200 epochs, 30,000 recorded steps, pictures of 224 pixels that cannot be packed."""
    names = tuple(f"class {c}" for c in range(100))
    run = make_run(class_names=names, epochs=200, samples=False, overrides=("train.epochs=200",))
    noise = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3)).astype(np.uint8)
    run.write_samples({"images": noise, "labels": np.zeros(32, np.int64), "augmented": noise})
    evaluation, arrays = run.evaluation("test"), run.evaluation_arrays("test")
    assert evaluation is not None
    pictures = {name: noise[: len(kept)] for name, kept in arrays.items() if name.endswith("_images")}
    run.write_evaluation(evaluation, arrays | pictures)
    steps = [
        {"kind": "step", "epoch": 1 + step // 150, "step": step, "loss": 1.0 + step % 7, "lr": 0.1}
        for step in range(30_000)
    ]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in steps))
    began = time.perf_counter()
    size = len(read(run).html.encode())
    assert time.perf_counter() - began < 5
    assert size < 5_000_000


def test_class_curves_are_the_recorded_scores(make_run: MakeRun) -> None:
    run = make_run(epochs=8)  # whose first scores lie below the axis
    page = read(run)
    recorded = [line["val_classes"] for line in run.metrics() if line["kind"] == "epoch"]
    titles = [title for title in page.values("data-title") if title in NAMES]
    assert titles == sorted(NAMES, key=lambda name: recorded[-1]["f1"][NAMES.index(name)])
    for key in ("f1", "precision", "recall"):
        for label in range(len(NAMES)):
            told = "|".join(f"{scores[key][label] * 100:.4g} %" for scores in recorded)
            assert page.values("data-y").count(told) == 1


def test_hits_stand_with_what_came_next(make_run: MakeRun) -> None:
    run = make_run()
    page = read(run)
    arrays = run.evaluation_arrays("test")
    row = arrays["hits"][0]
    answer = probabilities(arrays["logits"][row : row + 1])[0]
    first, second = np.argsort(-answer)[:2]
    assert first == arrays["labels"][row]
    found = [
        NAMES[first],
        f"{answer[first] * 100:.1f} %",
        "next",
        NAMES[second],
        f"{answer[second] * 100:.1f} %",
    ]
    assert found in windows(page.cells, 5)


def test_reporting_loads_neither_torch_nor_scikit_learn(make_run: MakeRun) -> None:
    run = make_run()
    code = (
        "import sys, pictorch.reporting as r; r.report(sys.argv[1]); "
        "print(sorted({'torch', 'sklearn', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_no_utf8(make_run: MakeRun) -> None:
    run = make_run(finished=False)
    odd = RunFolder(run.path.rename(run.path.with_name("o\udcff")))
    assert "o\\udcff" in render_report(odd).read_text("utf-8")
