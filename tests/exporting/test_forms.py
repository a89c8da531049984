"""The door to every form: what is refused before any work, where it goes, what it replaces, the images."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from begun_run import begin
from made_data import write_classes
from pictorch import durable
from pictorch.errors import DataError, MissingPartError, RecipeError, ResourceError
from pictorch.exporting import forms
from pictorch.exporting.export import export
from pictorch.exporting.forms import FormSource, write_form
from pictorch.run_folder import RunFolder
from tiny_bundle import CLASSES, make_bundle


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bundle() -> Path:
    return make_bundle(Path("bundle"), recipe={"name": "colors", "data": {"source": "photos"}}).path


# --- what is refused ------------------------------------------------------------------------------


def test_an_unknown_form_is_refused_with_the_nearest(bundle: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown form 'tritn' \(did you mean triton\?\)"):
        export(bundle, to="tritn")


@pytest.mark.parametrize("to", ["bundle", "mobile"])
def test_a_bundle_has_no_form_that_pytorch_writes(bundle: Path, to: str) -> None:
    with pytest.raises(
        RecipeError, match=f"--to {to} needs the run, .* another form: onnx, int8, web, triton"
    ):
        export(bundle, to=to)


@pytest.mark.parametrize(("name", "value"), [("checkpoint", "best"), ("views", "flip"), ("model", object())])
def test_a_bundle_has_chosen_already(bundle: Path, name: str, value: object) -> None:
    with pytest.raises(RecipeError, match="leave out --checkpoint, --views and model="):
        export(bundle, to="triton", **{name: value})


@pytest.mark.parametrize("to", forms.FORMS)
def test_something_else_at_the_target_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Also an export of another form, and a bundle where that is not what is asked for."""
    begin(RunFolder(Path("run")))
    monkeypatch.setattr("pictorch.exporting.run_bundle.make_bundle", lambda *_, **__: pytest.fail("worked"))
    other = "web" if to == "onnx" else "onnx"
    write_form(other, Path("other"), {"a": b"1"}, {})
    for name in ("photos", "other", *([] if to in ("bundle", "int8") else ["a bundle"])):
        if name == "photos":
            write_classes(Path(name), {"cat": 1})
        elif name == "a bundle":
            make_bundle(Path(name))
        before = tree(Path(name))
        with pytest.raises(RecipeError, match=f"--out {name} is there and is n"):
            export("run", to=to, out=name)
        assert tree(Path(name)) == before


def test_a_missing_package_is_named_with_its_extra(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pictorch.exporting.plain_onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPartError, match=r"onnx is not installed; .*pictorch\[train\]"):
        export(bundle, to="onnx")


# --- where it goes --------------------------------------------------------------------------------


def test_forms_of_a_bundle_go_beside_it() -> None:
    for name in ("model", "model.zip"):
        make_bundle(Path(name))
        assert export(name, to="triton").path == Path("model-triton")
        shutil.rmtree("model-triton")
    assert export("model.zip", to="triton", out="deep/models").path == Path("deep/models")


@pytest.mark.parametrize(("place", "name"), [("net-1.5", "."), (".", "net-1.5/")])
def test_the_name_beside_is_that_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    make_bundle(Path("net-1.5"))
    monkeypatch.chdir(place)
    assert export(name, to="triton").path.resolve() == tmp_path / "net-1.5-triton"


@pytest.mark.slow
def test_forms_of_a_run_go_into_it_and_leave_its_bundle_alone(run: RunFolder) -> None:
    form = export(run, to="triton")
    assert form.path == run.form_path("triton") == run.path / "exported" / "triton"
    assert form.agreement.n == 48
    assert not run.bundle_path.exists()


def test_an_older_export_of_the_form_is_replaced(bundle: Path) -> None:
    first = export(bundle, to="triton")
    (first.path / "colors/labels.txt").write_text("mine")
    (first.path / "more").write_text("mine")
    again = export(bundle, to="triton")
    assert again == first
    assert (first.path / "colors/labels.txt").read_text().splitlines() == list(CLASSES)
    assert not (first.path / "more").exists()


def test_an_empty_folder_is_filled(bundle: Path) -> None:
    Path("models").mkdir()
    assert export(bundle, to="triton", out="models").path == Path("models")


# --- all or nothing -------------------------------------------------------------------------------


def test_the_manifest_has_every_file_and_they_are_whole() -> None:
    sizes = write_form("web", Path("form"), {"a.txt": b"12", "deep/er/b.txt": b"345"}, {"about": "me"})
    manifest = durable.verify_folder(Path("form"), manifest_name=forms.MANIFEST)
    assert (manifest["form"], manifest["about"], set(manifest["files"])) == (
        "web", "me", {"a.txt", "deep/er/b.txt"}
    )  # fmt: skip
    assert sizes == {name: Path("form", name).stat().st_size for name in sizes}
    assert sizes.keys() == {"a.txt", "deep/er/b.txt", forms.MANIFEST}


def test_a_full_disk_leaves_the_older_export(
    bundle: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the second file is written."""
    export(bundle, to="triton", out=place / "models")
    before, written = tree(place), list[Path]()
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match="no space left while writing"):
        export(bundle, to="triton", out=place / "models")
    assert tree(place) == before
    assert os.listdir(place) == ["models"]


# --- the images that answers are compared on ------------------------------------------------------


def images_of(source: FormSource) -> np.ndarray:
    return np.concatenate(list(source.images()))


def test_a_bundle_alone_gives_its_golden_samples_and_mixtures(bundle: Path) -> None:
    source = FormSource(make_bundle(Path("bundle")), lambda line: None)
    images, (golden, _) = images_of(source), source.bundle.golden()
    assert (images.shape, images.dtype) == ((1000, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(images[: len(golden)], golden)
    np.testing.assert_array_equal(images, images_of(source))
    assert len({image.tobytes() for image in images}) > 980
    assert max(len(part) for part in source.images()) <= 250


def test_data_of_a_bundle_give_validation_and_training_images(bundle: Path) -> None:
    write_classes(Path("pictures"), dict.fromkeys(CLASSES, 6))
    assert export(bundle, to="triton", data="pictures").agreement.n == 15, "3 are test images"
    write_classes(Path("others"), dict.fromkeys((*CLASSES, "violet"), 6))
    with pytest.raises(DataError, match=r"others has other classes than bundle .*adds: violet"):
        export(bundle, to="triton", data="others")


# --- what is told ---------------------------------------------------------------------------------


def test_a_form_tells_what_it_is(bundle: Path) -> None:
    form = export(bundle, to="triton")
    record = form.to_json()
    assert (record["form"], record["path"]) == ("triton", "bundle-triton")
    assert record["files"] == {str(path.relative_to(form.path)): path.stat().st_size
                               for path in form.path.rglob("*") if path.is_file()}  # fmt: skip
    assert record["agreement"]["n"] == 1000
    first, second, *rest = form.in_words()
    assert first == f"exported bundle-triton: 4 files, {sum(form.files.values()) / 1e6:.2f} MB"
    assert second.startswith("answers as the bundle does on 1,000 images (largest difference 0")
    assert rest[-1] == f"next:  {form.next_command}"
    assert "exported bundle-triton" in form._repr_html_()


TORCH_FREE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Blocker())
from pictorch import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("to", "blocked"), [("onnx", ("torch",)), ("triton", ("torch", "onnx"))])
def test_forms_of_a_bundle_need_no_torch(bundle: Path, to: str, blocked: tuple[str, ...]) -> None:
    program = f"BLOCKED = {blocked}\n{TORCH_FREE}"
    command = [sys.executable, "-W", "error", "-c", program, "export", str(bundle), "--to", to]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"exported bundle-{to}: " in done.stdout
