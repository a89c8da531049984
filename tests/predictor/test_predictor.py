import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictorch.errors import CheckpointError, DataError, RecipeError
from pictorch.images import decode_image
from pictorch.predictor import Predictor, load, predict, verify
from pictorch.run_folder import RunFolder
from tiny_bundle import CLASSES, SIZE, color_image, make_bundle


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("predictor") / "b")


@pytest.fixture(scope="module")
def predictor(bundle):
    return Predictor(bundle)


@pytest.fixture
def run(tmp_path):
    """Only what makes a folder a run; a predictor reads nothing else of it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text('{"schema": 1}')
    return RunFolder.open(folder)


@pytest.mark.parametrize("color", CLASSES)
def test_colors_are_told_apart(predictor, color):
    (prediction,) = predictor([color_image(color, 20, 13)])
    assert prediction.name == color
    assert prediction.probability > 0.99


@pytest.mark.parametrize(("height", "width"), [(SIZE, SIZE), (40, 40), (40, 57), (5, 3)])
def test_path_bytes_and_array_are_the_same_image(predictor, tmp_path, height, width):
    pixels = photo(height, width)
    path = tmp_path / "photo.png"
    path.write_bytes(png(pixels))
    answers = predictor([path, str(path), png(pixels), pixels])
    assert len({answer.classes for answer in answers}) == 1
    assert [answer.source for answer in answers] == [str(path), str(path), "image 2", "image 3"]


def test_what_holds_the_same_pixels_is_the_same_image(predictor, tmp_path):
    pixels = photo(40, 57)
    path = tmp_path / "photo.png"
    path.write_bytes(png(pixels))
    read_already = io.BytesIO(png(pixels))
    read_already.read()
    with path.open("rb") as file:
        same = [pixels, Image.open(path), Image.fromarray(pixels), file, read_already, bytearray(png(pixels))]
        answers = predictor(iter(same))
    assert len({answer.classes for answer in answers}) == 1
    assert [answer.source for answer in answers] == [f"image {place}" for place in range(len(same))]


def test_transparent_pixels_are_white_however_they_come(predictor):
    pixels = np.dstack([photo(30, 30), photo(30, 30)[..., :1]])
    answers = predictor([pixels, Image.fromarray(pixels), png(pixels)])
    assert len({answer.classes for answer in answers}) == 1
    assert answers[0].classes != predictor([pixels[..., :3]])[0].classes


def test_a_picture_that_pillow_holds_is_turned_upright_as_its_file_is(predictor):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(photo(20, 30)).save(buffer, "PNG", exif=exif)
    held, file = predictor([Image.open(buffer), buffer])
    assert held.classes == file.classes


def test_the_place_of_a_wrong_image_in_a_mixed_list_is_named(predictor):
    with pytest.raises(DataError, match=r"^image 2 is an array of float64 and shape \(8, 8, 3\); give"):
        predictor([photo(8, 8), png(photo(8, 8)), photo(8, 8) / 255])


def test_answer_is_the_graph_s_answer_to_the_decoded_pixels(predictor):
    data = png(photo(30, 50))
    expected = predictor.probabilities(decode_image(data, SIZE)[np.newaxis])[0]
    found = dict(predictor([data])[0].classes)
    assert [found[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)


def test_classes_are_sorted_and_cut(predictor):
    (whole,) = predictor([photo(8, 8)], top=5)
    assert {name for name, _ in whole.classes} == set(CLASSES)
    assert [value for _, value in whole.classes] == sorted((v for _, v in whole.classes), reverse=True)
    assert sum(value for _, value in whole.classes) == pytest.approx(1)
    (first,) = predictor([photo(8, 8)], top=1)
    assert first.classes == whole.classes[:1]


def test_equal_probabilities_keep_the_order_of_the_classes(predictor):
    (prediction,) = predictor([np.zeros((8, 8, 3), np.uint8)])
    assert [name for name, _ in prediction.classes] == list(CLASSES)


def test_many_images_are_answered_in_their_order(predictor):
    colors = [CLASSES[place % 3] for place in range(80)]
    answers = predictor([color_image(color) for color in colors])
    assert [answer.name for answer in answers] == colors
    assert [answer.source for answer in answers] == [f"image {place}" for place in range(80)]


def test_grey_pixels_are_the_same_in_a_file_and_an_array(predictor):
    grey = photo(30, 50)[..., 0]
    from_array, from_file = predictor([grey, png(grey)])
    assert from_array.classes == from_file.classes


def test_no_images_give_no_predictions(predictor):
    assert predictor([]) == []


def test_batch_of_stored_images_is_a_list_of_images(predictor):
    assert [answer.name for answer in predictor(np.stack([color_image(c) for c in CLASSES]))] == list(CLASSES)


def test_prediction_as_json(predictor):
    record = predictor([color_image("red")], top=2)[0].to_json()
    assert record["source"] == "image 0"
    assert record["classes"][0]["name"] == "red"
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        b"no image",
        b"",
        None,
        io.StringIO("text"),
        Image.new("F", (8, 8)),
        "missing.png",
        "nul\0.png",
        "*.png",
        ".",
    ],
    ids=[
        "grey floats",
        "channels first",
        "float",
        "no rows",
        "text",
        "no bytes",
        "none",
        "file of text",
        "PIL floats",
        "missing",
        "nul",
        "pattern",
        "folder",
    ],
)
def test_what_is_no_image_is_a_data_error_of_one_line(predictor, image):
    with pytest.raises(DataError) as caught:
        predictor([image])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "image",
    ["photo.png", Path("photo.png"), b"bytes", io.BytesIO(), Image.new("L", (8, 8)), photo(8, 8)],
    ids=["text", "path", "bytes", "file", "PIL", "array"],
)
def test_one_image_without_a_list_is_refused(predictor, image):
    with pytest.raises(DataError, match=r"\[image\]"):
        predictor(image)


def test_bad_image_among_good_ones_is_named(predictor, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(png(photo(30, 30))[:60])
    with pytest.raises(DataError, match=r"broken\.png"):
        predictor([color_image("red"), path])


def test_a_folder_stands_for_its_images_and_tells_what_is_none(predictor, tmp_path):
    for name in ("b/2.png", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(color_image("red")))
    (tmp_path / "b/1.png").write_bytes(b"no image")
    answers = predictor([tmp_path, color_image("blue")])
    assert [answer.source for answer in answers] == [f"{tmp_path}/a.png", f"{tmp_path}/b/2.png", "image 1"]
    (refused,) = answers.refused
    assert refused.source == f"{tmp_path}/b/1.png"
    assert "not an image" in refused.error
    assert answers.to_json()["refused"] == [refused.to_json()]


def test_a_stream_answers_before_it_has_seen_all_images(predictor):
    def images():
        for _ in range(100_000):
            yield color_image("red")
        raise AssertionError("asked for more than was needed")

    answers = predictor.stream(images())
    assert [next(answers).name for _ in range(64)] == ["red"] * 64


def test_a_stream_goes_on_after_what_is_no_image(predictor):
    answers = list(predictor.stream([color_image("red"), b"no image", None, color_image("blue")]))
    assert [getattr(answer, "name", "refused") for answer in answers] == ["red", "refused", "refused", "blue"]
    assert all(answer.named for answer in answers[1:3])


def test_bundle_and_run_are_both_sources(bundle, run, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png(color_image("red")))
    expected = predict(bundle.path, [path], top=2)
    make_bundle(run.bundle_path)
    make_bundle(tmp_path / "b.zip")
    assert predict(str(run.path), [str(path)], top=2) == expected
    assert predict(tmp_path / "b.zip", [path], top=2) == expected
    assert load(run.path).bundle.class_names == CLASSES


def test_run_without_bundle_names_the_export_line(run):
    with pytest.raises(CheckpointError) as caught:
        predict(run.path, ["a.png"])
    assert f"pictorch export {run.path}" in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "."])
def test_what_is_neither_run_nor_bundle_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError):
        predict(tmp_path / name, ["a.png"])


def test_damaged_bundle_of_a_run_is_refused(run):
    make_bundle(run.bundle_path)
    (run.bundle_path / "MODEL_CARD.md").write_text("other")
    with pytest.raises(CheckpointError, match="damaged"):
        predict(run.path, ["a.png"])


def test_threads_change_no_answer(bundle, predictor):
    images = [photo(9, 9), photo(30, 30)]
    for one, many in zip(Predictor(bundle, threads=1)(images), predictor(images), strict=True):
        assert one.name == many.name
        assert one.probability == pytest.approx(many.probability, abs=1e-6)


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_verify_says_what_it_checked(tmp_path, name):
    made = make_bundle(tmp_path / name)
    record = verify(tmp_path / name).to_json()
    assert record.pop("largest_difference") < 1e-6
    assert record == {
        "ok": True,
        "bundle": str(tmp_path / name),
        "files": sorted(made.files),
        "golden_n": 4,
        "class_names": list(CLASSES),
    }


def test_a_bundle_is_opened_without_the_recipe_s_checks():
    """They are a third of the start, and only a run folder needs them."""
    import subprocess
    import sys

    program = "import sys, pictorch.predictor; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_is_left_in_the_users_cache(tmp_path):
    """ONNX Runtime would keep a device number there for its telemetry."""
    import os
    import subprocess
    import sys

    make_bundle(tmp_path / "bundle")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-m", "pictorch", "verify", str(tmp_path / "bundle")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("top", [0, -1])
def test_at_least_one_class_is_asked_for(tmp_path, top):
    make_bundle(tmp_path / "bundle")
    with pytest.raises(RecipeError, match="at least 1"):
        predict(tmp_path / "bundle", [], top=top)
