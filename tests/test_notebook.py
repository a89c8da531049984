"""What a notebook shows of results: the numbers that matter, every value escaped, no colour of its own."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pictorch
from made_data import write_classes
from pictorch.markup import Markup
from pictorch.notebook import bars, card, curve, facts, rows
from pictorch.predictor import Prediction, Predictions
from pictorch.run_folder import ClassScore, Evaluation
from pictorch.training.loop import FitResult
from tiny_bundle import color_image, make_bundle

HOSTILE = "<script>alert('x')</script>&\"猫"
ALLOWED = {
    "div", "style", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption",
    "svg", "polyline", "img",
}  # fmt: skip


class Page(HTMLParser):
    """Reads a fragment; its tags must be known ones and be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[str] = []
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        assert set(self.tags) <= ALLOWED

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.images += [value or "" for name, value in attrs if (tag, name) == ("img", "src")]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def evaluation(*names: str, split: str = "test") -> Evaluation:
    return Evaluation(
        split=split, n=10_000, accuracy=0.8831, accuracy_interval=(0.8766, 0.8893), loss=0.4,
        top5=None, per_class=tuple(ClassScore(name, 5_000, 0.9, 0.8, 0.85, None) for name in names),
        macro={}, confusion=(), checkpoint="best", step=7, test_openings=2,
    )  # fmt: skip


def test_an_evaluation_shows_accuracy_interval_n_and_classes() -> None:
    cells = Page(evaluation("cat", HOSTILE)._repr_html_()).cells
    assert "88.31 % (95 % 87.66–88.93 %, n = 10,000)" in cells
    assert cells[cells.index("cat") :][:6] == ["cat", "5,000", "90.00 %", "80.00 %", "85.00 %", "–"]
    assert HOSTILE in cells
    assert cells[cells.index("test openings") + 1] == "2"
    assert "test openings" not in Page(evaluation("cat", split="val")._repr_html_()).cells


def test_a_training_shows_its_curves_while_its_run_folder_is_there(tmp_path: Path) -> None:
    result = FitResult(
        run=str(tmp_path), epochs=3, epochs_planned=9, steps=9, stopped_by="max_minutes", train_loss=0.1,
        train_accuracy=0.99, val_loss=0.2, val_accuracy=0.9, best_epoch=2, best_val_accuracy=0.95,
        checkpoint="best",
    )  # fmt: skip
    page = Page(result._repr_html_())
    assert "svg" not in page.tags
    assert {"95.00 % in epoch 2", "3, stopped by max_minutes"} <= set(page.cells)
    losses = [{"kind": "epoch", "train_loss": x, "val_loss": None, "val_accuracy": 1 - x} for x in (3, 2, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in losses))
    page = Page(result._repr_html_())
    assert page.tags.count("polyline") == 2
    assert "train loss: 3 to 1 in 3 epochs" in page.cells


def test_a_prediction_shows_its_picture_and_bars(tmp_path: Path) -> None:
    picture = tmp_path / "a<b>.png"
    Image.fromarray(color_image("green", 300, 200)).save(picture)
    bundle = make_bundle(tmp_path / "colors", class_names=("blue", HOSTILE, "red"))
    predictions = pictorch.predict(bundle.path, [picture, color_image("red")], top=2)
    assert isinstance(predictions, list)
    page = Page(predictions._repr_html_())
    assert len(page.images) == 1
    assert page.images[0].startswith("data:image/png;base64,")
    assert len(page.images[0]) < 20_000
    assert HOSTILE in page.cells
    assert len(Page(predictions[0]._repr_html_()).images) == 1
    picture.write_text("no picture any more")
    assert Page(predictions[0]._repr_html_()).images == []
    picture.unlink()
    assert Page(predictions[0]._repr_html_()).images == []


def test_many_predictions_stay_a_short_page() -> None:
    many = Predictions(Prediction(f"image {place}", (("a", 1.0),)) for place in range(1_000))
    assert len(many._repr_html_()) < 20_000
    assert "Predictions for 1,000 images" in many._repr_html_()


def test_a_bundle_shows_what_it_knows(tmp_path: Path) -> None:
    metrics = {"test_openings": 1, "test": {"accuracy": 0.5, "accuracy_interval": [0.4, 0.6], "n": 96}}
    names = ("blue", HOSTILE, "red")
    bundle = make_bundle(tmp_path / "colors", class_names=names, metrics=metrics)
    cells = Page(bundle._repr_html_()).cells
    assert "50.00 % (95 % 40.00–60.00 %, n = 96)" in cells
    assert ", ".join(names) in cells
    assert "val accuracy" not in cells
    assert "bundle.json, golden.npz, model.onnx" in " ".join(
        Page(pictorch.verify(bundle.path)._repr_html_()).cells
    )


def test_looking_at_data_shows_its_pictures_and_findings(tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "photos", {"cat": 12, "a<b>": 12})
    page = Page(pictorch.data_show(photos, out=tmp_path / "pictures")._repr_html_())
    assert len(page.images) == 3
    assert {"24", "cat", "a<b>", "8 x 8 (24)"} <= set(page.cells)
    assert "nothing is wrong" in Page(pictorch.data_check(photos)._repr_html_()).cells[-1]
    (photos / "cat/broken.png").write_bytes(b"no picture")
    cells = Page(pictorch.data_check(photos)._repr_html_()).cells
    assert "error" in cells
    assert any("broken.png" in cell for cell in cells)


def test_doctor_and_runs_show_themselves(tmp_path: Path) -> None:
    found = pictorch.doctor()
    assert {found.advice, "processor", *found.auto} <= set(Page(found._repr_html_()).cells)
    assert "Runs" in Page(pictorch.runs()._repr_html_()).cells


printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1)


@given(printable, printable, st.floats(0, 1))
def test_no_value_can_break_the_page(name: str, value: str, fraction: float) -> None:
    parts = facts({name: value}), bars([(name, fraction)]), rows(name, [{name: value}])
    page = Page(card(name, *parts, curve(name, [fraction, 1 - fraction])))
    assert page.cells.count(name) >= 4 - (name == value)


@pytest.mark.parametrize("values", [[], [1.0], [None, 2.0]])
def test_a_curve_needs_two_values(values: list[float | None]) -> None:
    assert curve("loss", values) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_a_curve_stays_inside_its_box(values: list[float]) -> None:
    drawn = curve("loss", values)
    assert isinstance(drawn, Markup)
    (points,) = re.findall('points="([^"]+)"', drawn)
    places = np.array([point.split(",") for point in points.split()], float)
    assert len(places) == len(values)
    assert (places >= 0).all()
    assert (places <= (260, 72)).all()


def test_colours_are_those_of_the_page(tmp_path: Path) -> None:
    """A card sets no ink and no paper, so that it reads in a light and in a dark notebook."""
    html = evaluation("cat")._repr_html_() + Prediction("a", (("cat", 0.5),))._repr_html_()
    assert not re.search(r"(?<!-)color:|background:(?!currentColor)|#[0-9a-f]{3}", html)
    assert "<script" not in html
