"""The files of the web form; what a browser makes of them is in tests/browser/test_web_page*.py."""

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

import pictorch
from pictorch.errors import MissingPartError, RecipeError
from pictorch.exporting import web
from pictorch.exporting.forms import ExportedForm
from tiny_bundle import CLASSES, make_bundle


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for what `make web-runtime` brings, which no test here runs."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in ("ort.js", "ort.wasm", "LICENSE.txt", "ThirdPartyNotices.txt"):
        (folder / name).write_text(name)
    monkeypatch.setattr(web, "_RUNTIME", folder)
    return folder


def exported(tmp_path: Path, **changes: object) -> ExportedForm:
    bundle = make_bundle(tmp_path / "colors", **changes)
    form = pictorch.export(bundle.path, to="web", out=tmp_path / "site")
    assert isinstance(form, ExportedForm)
    return form


def test_a_folder_with_everything_that_the_page_asks_for(tmp_path: Path, runtime: Path) -> None:
    form = exported(tmp_path)
    asked = {"index.html", "model.json", "golden.bin", "model.onnx", "runtime/ort.wasm", "service-worker.js"}
    for path in (form.path / "index.html", *(form.path / "static").glob("*.js")):
        for address in re.findall(r'(?:href|src)="([^#"]+)"|from "([^"]+)"', path.read_text()):
            asked.add((path.parent / "".join(address)).resolve().relative_to(form.path.resolve()).as_posix())
    assert asked <= form.files.keys()
    assert {"runtime/ort.js", "manifest.webmanifest", "static/page.js", "MODEL_CARD.md"} <= asked
    assert form.agreement.ok
    assert form.agreement.n == 1000
    assert str(form.path) in form.next_command


def test_the_model_and_its_golden_samples_as_scripts_read_them(tmp_path: Path, runtime: Path) -> None:
    form = exported(tmp_path, recipe={"name": "白鹭"})
    model = json.loads((form.path / "model.json").read_bytes())
    assert (model["name"], tuple(model["classes"]), model["size"], model["fit"]) == (
        "白鹭",
        CLASSES,
        8,
        "crop",
    )
    golden = np.load(tmp_path / "colors/golden.npz")
    data, cells = (form.path / "golden.bin").read_bytes(), golden["probabilities"].size
    assert (np.frombuffer(data, "<f4", cells) == golden["probabilities"].ravel()).all()
    assert (np.frombuffer(data, np.uint8, offset=4 * cells) == golden["images"].ravel()).all()


def test_the_page_speaks_of_no_server_and_names_no_address(tmp_path: Path, runtime: Path) -> None:
    form = exported(tmp_path)
    page = (form.path / "index.html").read_text()
    assert not re.search(r"serve\b|curl -F|tiff|//", page.replace("<!doctype", ""))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy
    assert not re.search(r"http|\*|'unsafe", policy)
    assert page.index("Content-Security-Policy") < page.index("<link") < page.index("<script")
    every = "".join(path.read_text() for path in (form.path / "static").glob("*.js"))
    assert not re.search(r"https?://(?!127\.0\.0\.1|localhost)", every)


def test_the_service_worker_knows_each_file_by_its_hash(tmp_path: Path, runtime: Path) -> None:
    form = exported(tmp_path)
    script = (form.path / "service-worker.js").read_text()
    version, listed = re.match(r'const VERSION = "(\w+)", FILES = (\{.*?\n\});\n', script, re.DOTALL).groups()
    hashes = {"./" if name == "index.html" else name: sri(form.path / name) for name in form.files}
    del hashes["service-worker.js"], hashes["pictorch.json"]
    assert json.loads(listed) == hashes
    assert form.facts["version"] == version


def test_equal_models_give_equal_bytes_and_others_another_version(tmp_path: Path, runtime: Path) -> None:
    first = exported(tmp_path)
    before = {name: (first.path / name).read_bytes() for name in first.files}
    again = exported(tmp_path)
    assert before == {name: (again.path / name).read_bytes() for name in again.files}
    other = exported(tmp_path, licence="CC0-1.0")
    assert other.facts["version"] != first.facts["version"]


def test_the_manifest_installs_it_wherever_it_lies(tmp_path: Path, runtime: Path) -> None:
    form = exported(tmp_path)
    manifest = json.loads((form.path / "manifest.webmanifest").read_bytes())
    assert (manifest["start_url"], manifest["scope"], manifest["display"]) == ("./", "./", "standalone")
    assert {icon["sizes"] for icon in manifest["icons"]} == {"any", "192x192", "512x512"}
    assert all((form.path / icon["src"]).is_file() for icon in manifest["icons"])


def test_without_the_runtime_the_line_that_brings_it_is_named(tmp_path: Path, runtime: Path) -> None:
    (runtime / "ort.wasm").unlink()
    with pytest.raises(MissingPartError, match="`make web-runtime`") as caught:
        exported(tmp_path)
    assert caught.value.exit_code == 9
    assert not (tmp_path / "site").exists()


def test_no_other_folder_is_replaced(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="is there and is no export of the form web"):
        exported(tmp_path)


def sri(path: Path) -> str:
    return "sha256-" + b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
