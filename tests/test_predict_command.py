"""predict on the command line: rows that are written as they come."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pictorch import cli
from test_cli import shell
from tiny_bundle import CLASSES, color_image, make_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def bundle(own_place: None) -> None:
    """`b` is a bundle, `photos` holds two images and between them what is none."""
    make_bundle(Path("b"))
    Path("photos").mkdir()
    for name, color in (("1", "red"), ('3 ü, "x"\n', "blue")):
        Image.fromarray(color_image(color)).save(f"photos/{name}.png")
    Path("photos/2.png").write_bytes(b"no image")


NAMES = ["photos/1.png", "photos/2.png", 'photos/3 ü, "x"\n.png']


def run(capsys: Capture, *words: str, code: int = 3) -> tuple[str, str]:
    capsys.readouterr()
    assert cli.main(["predict", "b", *words]) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_lines_for_people_name_what_is_no_image_and_how_many(capsys: Capture) -> None:
    out, err = run(capsys, "photos", "--top", "1")
    assert out.splitlines()[0].startswith("photos/1.png: red ")
    assert out.splitlines()[1].startswith(r'photos/3 ü, "x"\n.png: blue ')
    assert err.splitlines()[0].startswith("pictorch: photos/2.png: not an image")
    assert err.splitlines()[1:] == ["pictorch: 1 of 3 images have no answer"]


def test_jsonl_has_a_row_for_every_file(capsys: Capture) -> None:
    out, err = run(capsys, "photos", "--jsonl", "--top", "2")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["source"] for row in rows] == NAMES
    assert rows[0]["classes"][0]["name"] == "red"
    assert len(rows[0]["classes"]) == 2
    assert rows[1].keys() == {"source", "error"}
    assert err == "pictorch: 1 of 3 images have no answer\n"


def test_csv_reads_back_whatever_the_names_are(capsys: Capture) -> None:
    out, _ = run(capsys, "photos", "--csv", "--top", "2")
    first, second, third = csv.DictReader(io.StringIO(out, newline=""))
    assert [row["source"] for row in (first, second, third)] == NAMES
    assert list(first) == ["source", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert (first["class_1"], third["class_1"], second["class_1"]) == ("red", "blue", "")
    assert float(first["probability_1"]) > 0.99
    assert "not an image" in second["error"]
    assert first["error"] == ""


def test_csv_has_no_more_columns_than_there_are_classes(capsys: Capture) -> None:
    out, _ = run(capsys, "photos/1.png", "--csv", "--top", "50", code=0)
    assert len(out.splitlines()[0].split(",")) == 2 + 2 * len(CLASSES)


def test_no_name_is_a_formula_in_a_spreadsheet(capsys: Capture) -> None:
    for name in ("=1+1.png", "@x.png", "+x.png"):
        Image.fromarray(color_image("red")).save(name)
    out, _ = run(capsys, "*.png", "--csv", code=0)
    names = [row["source"] for row in csv.DictReader(io.StringIO(out))]
    assert names == ["./+x.png", "./=1+1.png", "./@x.png"]
    assert all(Path(name).is_file() for name in names), "they are still the paths of the files"


def test_json_is_one_object_and_tells_what_a_folder_held_besides(capsys: Capture) -> None:
    out, _ = run(capsys, "photos", "--json")
    (answer,) = map(json.loads, out.splitlines())
    assert [row["source"] for row in answer["predictions"]] == [NAMES[0], NAMES[2]]
    assert [row["source"] for row in answer["refused"]] == [NAMES[1]]


def test_json_with_a_named_file_that_is_no_image_is_an_error(capsys: Capture) -> None:
    out, _ = run(capsys, "photos/1.png", "photos/2.png", "--json")
    assert json.loads(out).keys() == {"error", "exit_code"}


@pytest.mark.parametrize("form", ["--jsonl", "--csv", "-q"])
def test_a_named_file_that_is_no_image_does_not_stop_rows(capsys: Capture, form: str) -> None:
    out, _ = run(capsys, "photos/2.png", "missing.png", "photos/1.png", form)
    assert "red" in out


def test_a_name_that_is_no_utf8_is_escaped(capsys: Capture) -> None:
    name = os.fsdecode(b"\xff.png")
    Image.fromarray(color_image("red")).save(name)
    done = shell("pictorch predict b *.png --jsonl; pictorch predict b *.png --csv")
    jsonl, _, row = done.stdout.splitlines()
    assert json.loads(jsonl)["source"] == name
    assert row.startswith(r"\udcff.png,red,")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "--jsonl", "--csv"])
def test_rows_come_while_others_are_still_awaited(form: str) -> None:
    """The pipe in the middle is not written to before the first rows have been read."""
    os.mkfifo("pipe")
    names = ["photos/1.png"] * 40
    command = [sys.executable, "-m", "pictorch", "predict", "b", *names, "pipe", *form.split()]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, env=buffered, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "photos/1.png" in [process.stdout.readline() for _ in range(20)][-1]
        Path("pipe").write_bytes(Path("photos/1.png").read_bytes())
        assert len(process.stdout.readlines()) in (21, 22)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "--jsonl", "--csv"])
def test_a_reader_that_leaves_is_no_error(form: str) -> None:
    done = shell(f"pictorch predict b {'photos/1.png ' * 2000} {form} | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
