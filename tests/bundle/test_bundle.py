import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.bundle import source as bundle_source
from pictorch.bundle.bundle import check_target, golden_bytes, open_bundle
from pictorch.errors import CheckpointError, RecipeError, ResourceError
from pictorch.images import InputSpec
from pictorch.predictor import verify
from tiny_bundle import CLASSES, SIZE, make_bundle, reseal, tiny_files, tiny_model

FILES = ("MODEL_CARD.md", "bundle.json", "golden.npz", "model.onnx")
NAMES = ("b", "b.zip")


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(path, act=open_bundle):
    with pytest.raises(CheckpointError) as caught:
        act(path)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b").path


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder bundle and a zip bundle for tests that put back what they change."""
    parent = tmp_path_factory.mktemp("kept")
    return {name: make_bundle(parent / name).path for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_bundle_is_read_back_as_it_was_written(tmp_path, name):
    made = make_bundle(tmp_path / name, metrics={"val": {"n": 5, "accuracy": 0.8}})
    opened = open_bundle(str(tmp_path / name))
    assert (opened.facts, opened.files) == (made.facts, made.files)
    assert opened.class_names == CLASSES
    assert opened.input == InputSpec(stored_size=SIZE, image_size=SIZE)
    assert sorted(opened.files) == list(FILES)
    assert opened.to_json()["metrics"]["val"]["accuracy"] == 0.8
    json.dumps(opened.to_json(), allow_nan=False)


def test_equal_contents_give_equal_bytes(tmp_path):
    one, two = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "two")
    assert tree(one.path) == tree(two.path)
    make_bundle(tmp_path / "one.zip")
    make_bundle(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_folder_and_zip_hold_the_same_files(kept):
    assert open_bundle(kept["b"]).files == open_bundle(kept["b.zip"]).files


def test_bundle_json_states_every_other_file(folder):
    record = json.loads((folder / "bundle.json").read_bytes())
    assert sorted(record["files"]) == sorted(set(FILES) - {"bundle.json"})
    assert record["schema"] == 1
    assert str(folder.parent) not in json.dumps(record)


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_of_any_file_is_refused(kept, data):
    name = data.draw(st.sampled_from(FILES))
    path = kept["b"] / name
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        refusal(kept["b"])
    finally:
        path.write_bytes(whole)
    open_bundle(kept["b"])


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_any_cut_or_lengthened_file_is_refused(kept, data):
    path = kept["b"] / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.write_bytes(data.draw(st.sampled_from([cut, whole + b"\n", whole + b"\0" * 9])))
    try:
        refusal(kept["b"])
    finally:
        path.write_bytes(whole)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_byte_of_a_zip_changes_nothing_or_is_refused(kept, data):
    """The dates and rights in a zip's own records mean nothing to a bundle."""
    whole = kept["b.zip"].read_bytes()
    files = dict(open_bundle(kept["b.zip"]).files)
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    kept["b.zip"].write_bytes(changed)
    try:
        assert dict(open_bundle(kept["b.zip"]).files) == files
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        kept["b.zip"].write_bytes(whole)


def test_every_byte_of_the_zipped_files_is_guarded(kept):
    whole = kept["b.zip"].read_bytes()
    try:
        for name, content in open_bundle(kept["b.zip"]).files.items():
            start = whole.index(content)
            for place in range(start, start + len(content), 7):
                changed = bytearray(whole)
                changed[place] ^= 1
                kept["b.zip"].write_bytes(changed)
                assert name in refusal(kept["b.zip"])
    finally:
        kept["b.zip"].write_bytes(whole)


@pytest.mark.parametrize("name", ["more.txt", ".hidden", "model.onnx.bak"])
def test_added_file_is_refused(folder, name):
    (folder / name).write_bytes(b"")
    assert f"{name} does not belong there" in refusal(folder)


def test_added_folder_is_refused(folder):
    (folder / "inner").mkdir()
    assert "inner does not belong there" in refusal(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != "bundle.json"])
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    assert f"{name} is missing" in refusal(folder)


def test_folder_in_a_file_s_place_is_refused(folder):
    (folder / "MODEL_CARD.md").unlink()
    (folder / "MODEL_CARD.md").mkdir()
    assert "MODEL_CARD.md is not a file" in refusal(folder)


def test_swapped_files_are_refused(folder):
    one, two = folder / "golden.npz", folder / "MODEL_CARD.md"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    refusal(folder)


def test_what_is_no_bundle_is_refused(tmp_path):
    assert "there is no bundle" in refusal(tmp_path / "nothing")
    assert "no bundle.json" in refusal(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert "not a bundle" in refusal(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"schema": "1"}', b'{"schema": 1}']
)
def test_bundle_json_of_another_kind_is_refused(folder, text):
    (folder / "bundle.json").write_bytes(text)
    refusal(folder)


def test_newer_schema_is_refused_with_the_remedy(folder):
    reseal(folder, schema=3)
    assert "upgrade with `pip install -U pictorch`" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": []},
        {"class_names": [1, 2, 3]},
        {"class_names": None},
        {"input": None},
        {"input": {}},
        {"recipe": "colors"},
        {"opset": None},
        {"files": None},
        {"files": {}},
    ],
)
def test_resealed_bundle_with_wrong_facts_is_refused(folder, changes):
    reseal(folder, **changes)
    refusal(folder)


def test_resealing_alone_keeps_a_bundle_whole(folder):
    """Without this the tests above could pass because `reseal` itself breaks bundles."""
    reseal(folder)
    verify(folder)


def test_other_number_of_classes_than_outputs_is_refused(folder):
    reseal(folder, class_names=["blue", "green"])
    assert "promises" in refusal(folder, verify)


def test_other_answers_than_the_golden_ones_are_refused(tmp_path):
    images, answers = make_bundle(tmp_path / "right").golden()
    for shift, fits in ((5e-5, True), (2e-4, False)):
        path = tmp_path / f"b{shift}"
        make_bundle(path, {"golden.npz": golden_bytes(images, answers + np.float32(shift))})
        if fits:
            verify(path)
        else:
            assert "gives other answers" in refusal(path, verify)


def test_model_that_answers_nan_is_refused(tmp_path):
    model = tiny_model()
    weights = model.graph.initializer[0]
    weights.raw_data = np.full((3, 3), np.nan, np.float32).tobytes()
    make_bundle(tmp_path / "b", {"model.onnx": model.SerializeToString()})
    assert "gives other answers" in refusal(tmp_path / "b", verify)


@pytest.mark.parametrize(
    "golden",
    [
        b"",
        b"no archive",
        golden_bytes(np.zeros((0, SIZE, SIZE, 3), np.uint8), np.zeros((0, 3), np.float32)),
        golden_bytes(np.zeros((2, SIZE, SIZE + 1, 3), np.uint8), np.zeros((2, 3), np.float32)),
        golden_bytes(np.zeros((2, SIZE, SIZE, 3), np.uint8), np.zeros((3, 3), np.float32)),
        golden_bytes(np.zeros((2, SIZE, SIZE, 3), np.uint8), np.zeros((2, 3), np.float64)),  # type: ignore[arg-type]
        golden_bytes(np.zeros((2, SIZE, SIZE, 3), np.uint8), np.array([[None] * 3] * 2, dtype="U1")),  # type: ignore[arg-type]
    ],
    ids=["empty", "text", "none", "other size", "other number", "other type", "strings"],
)
def test_golden_samples_that_do_not_fit_are_refused(tmp_path, golden):
    make_bundle(tmp_path / "b", {"golden.npz": golden})
    assert "golden.npz" in refusal(tmp_path / "b", verify)


def test_pickled_golden_samples_are_never_unpickled(tmp_path):
    target = tmp_path / "g.npz"
    np.savez(target, images=np.array([print], dtype=object), probabilities=np.zeros((1, 3), np.float32))
    make_bundle(tmp_path / "b", {"golden.npz": target.read_bytes()})
    assert "golden.npz cannot be read" in refusal(tmp_path / "b", verify)


def test_golden_samples_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pictorch.bundle.bundle._LARGEST_GOLDEN_BYTES", 500)
    make_bundle(tmp_path / "b")
    assert "more than 500 bytes" in refusal(tmp_path / "b", verify)


def test_more_bytes_than_a_bundle_may_have_are_refused(folder, monkeypatch):
    monkeypatch.setattr("pictorch.bundle.bundle.LARGEST_BUNDLE_BYTES", 500)
    assert "more than 500 bytes" in refusal(folder)


@pytest.mark.parametrize("name", NAMES)
def test_older_bundle_is_replaced(tmp_path, name):
    make_bundle(tmp_path / name, checkpoint="last")
    make_bundle(tmp_path / name, checkpoint="best")
    assert open_bundle(tmp_path / name).facts.checkpoint == "best"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_bundle_left_between_two_renames_is_found(folder):
    folder.rename(folder.with_name("b.previous"))
    assert open_bundle(folder).facts.checkpoint == "best"


def test_folder_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(RecipeError, match="is not a bundle"):
        make_bundle(tmp_path / "photos")
    assert tree(tmp_path / "photos") == {"cat.png": b"cat"}


def test_bundle_beside_other_things_is_not_replaced(folder):
    (folder / "notes.txt").write_bytes(b"mine")
    with pytest.raises(RecipeError):
        check_target(folder)


@pytest.mark.parametrize("name", ["photos.zip", "model.onnx"])
def test_file_that_is_no_bundle_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_bytes(bundle_source.zip_bytes({"cat.png": b"cat"}))
    with pytest.raises(RecipeError, match="is not a bundle"):
        check_target(tmp_path / name)


def test_empty_folder_may_become_a_bundle(tmp_path):
    (tmp_path / "b").mkdir()
    assert make_bundle(tmp_path / "b").path == tmp_path / "b"


@pytest.mark.parametrize("name", NAMES)
def test_path_below_a_file_is_a_resource_error(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError):
        make_bundle(tmp_path / "file" / name)


def test_full_disk_leaves_the_old_bundle(folder, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    before = tree(folder)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ResourceError, match="no space left"):
        make_bundle(folder, checkpoint="last")
    assert tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["b"]


def test_copied_bundle_is_the_same_bundle(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert open_bundle(tmp_path / "copy").files == open_bundle(folder).files


def test_files_of_the_tiny_bundle_are_repeatable():
    assert tiny_files() == tiny_files()
