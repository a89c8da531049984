"""predict --out: files of predictions, whole or in shards, that a stopped call goes on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pictorch
from pictorch import cli
from pictorch.errors import DataError, MissingPartError, RecipeError, RunInUseError
from pictorch.predictor.prediction_file import PredictionFile
from pictorch.predictor.shard import Shard
from tiny_bundle import color_image, make_bundle

COLORS = ("red", "green", "blue")
IMAGES = 11


@pytest.fixture(autouse=True)
def bundle(own_place: None) -> None:
    """`b` is a bundle, `photos` holds IMAGES files, the fifth of which is no image."""
    make_bundle(Path("b"))
    Path("photos").mkdir()
    for number in range(IMAGES):
        Image.fromarray(color_image(COLORS[number % 3])).save(f"photos/{number:02d}.png")
    Path("photos/04.png").write_bytes(b"no image")


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predict(out: str, **options: Any) -> PredictionFile:
    made = pictorch.predict("b", ["photos"], out=out, **options)
    assert isinstance(made, PredictionFile)
    return made


def test_a_file_holds_what_the_answers_are() -> None:
    made = predict("all.csv", top=2)
    assert (made.rows, made.refused, made.rows_before) == (IMAGES, 1, 0)
    rows = table("all.csv")
    assert [row["row"] for row in rows] == [str(number) for number in range(IMAGES)]
    answers = iter(pictorch.predict("b", ["photos"], top=2))
    for number, row in enumerate(rows):
        assert row["source"] == f"photos/{number:02d}.png"
        if number == 4:
            assert row["class_1"] == ""
            assert "not an image" in row["error"]
            continue
        (first, second), error = next(answers).classes, row["error"]
        assert ((row["class_1"], float(row["probability_1"])), error) == (first, "")
        assert (row["class_2"], float(row["probability_2"])) == second
    assert sorted(os.listdir()) == ["all.csv", "all.csv.json", "b", "photos"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_shards_together_are_the_whole(suffix: str) -> None:
    predict(f"all.{suffix}")
    parts = [predict(f"part-{n}.{suffix}", shard=f"{n}/3") for n in (1, 2, 3)]
    assert [part.rows for part in parts] == [4, 4, 3]
    assert sum(part.refused for part in parts) == 1

    def rows(name: str) -> list[Any]:
        if suffix == "csv":
            return table(name)
        if suffix == "jsonl":
            return [json.loads(line) for line in Path(name).read_text().splitlines()]
        from pyarrow import parquet

        found: list[Any] = parquet.read_table(name).to_pylist()
        return found

    merged = [row for turn in zip_longest(*(rows(f"part-{n}.{suffix}") for n in (1, 2, 3))) for row in turn]
    assert [row for row in merged if row is not None] == rows(f"all.{suffix}")


@settings(max_examples=40)
@given(entries=st.integers(0, 40), count=st.integers(1, 12))
def test_every_entry_is_in_one_shard_at_its_place(entries: int, count: int) -> None:
    places = {}
    for number in range(1, count + 1):
        shard = Shard.parse(f"{number}/{count}")
        places |= {shard.place(row): entry for row, entry in enumerate(shard.of(range(entries)))}
    assert places == {entry: entry for entry in range(entries)}


@pytest.mark.parametrize("kept_bytes", [0, 1, 500, 10_000])
def test_what_was_stopped_goes_on_behind_its_whole_rows(kept_bytes: int) -> None:
    predict("all.jsonl")
    whole = Path("all.jsonl").read_bytes()
    record = json.loads(Path("all.jsonl.json").read_text())
    for name in ("rows", "refused"):
        del record[name]
    Path("all.jsonl.json").write_text(json.dumps(record))
    Path("all.jsonl").unlink()
    Path("all.jsonl.unfinished").write_bytes(whole[:kept_bytes])
    said: list[str] = []
    made = predict("all.jsonl", progress=said.append)
    assert made.rows_before == whole[:kept_bytes].count(b"\n")
    assert ("going on" in "".join(said)) == (made.rows_before > 0)
    assert Path("all.jsonl").read_bytes() == whole
    assert not Path("all.jsonl.unfinished").exists()


def test_a_finished_file_stays_as_it_is() -> None:
    first = predict("all.csv")
    before = Path("all.csv").stat()
    again = predict("all.csv")
    assert (again.rows, again.refused, again.rows_before) == (first.rows, first.refused, first.rows)
    assert Path("all.csv").stat() == before


def test_a_file_of_something_else_is_not_touched() -> None:
    Path("mine.csv").write_text("mine")
    with pytest.raises(RecipeError, match=r"mine\.csv is there"):
        predict("mine.csv")
    predict("all.csv")
    with pytest.raises(RecipeError, match="another top"):
        predict("all.csv", top=1)
    with pytest.raises(RecipeError, match="another shard"):
        predict("all.csv", shard="1/2")
    assert Path("mine.csv").read_text() == "mine"


def test_other_images_than_it_was_begun_with_are_refused() -> None:
    predict("all.jsonl")
    Path("all.jsonl").rename("all.jsonl.unfinished")
    Path("photos/00.png").unlink()
    with pytest.raises(DataError, match=r"the images are others than when it was begun \(then photos/00"):
        predict("all.jsonl")


def test_an_empty_shard_is_told_and_leaves_nothing() -> None:
    with pytest.raises(DataError, match="shard 12/12 of the images is empty"):
        predict("part.csv", shard="12/12")
    assert sorted(os.listdir()) == ["b", "photos"]


def test_a_file_has_one_writer() -> None:
    import fcntl

    predict("all.jsonl")
    Path("all.jsonl").rename("all.jsonl.unfinished")
    with open("all.jsonl.unfinished", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunInUseError, match="another process writes"):
            predict("all.jsonl")


def test_parquet_without_its_writer_names_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pictorch.predictor.prediction_file.find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match=r"pictorch\[parquet\]"):
        predict("all.parquet")


def test_the_command_writes_a_shard_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "b", "photos", "--shard", "2/3", "--out", "part.csv"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "part.csv: 4 rows, 1 of them without an answer\n"
    assert cli.main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"path": "part.csv", "rows": 4, "refused": 1, "rows_before": 4}
    assert said.err == "part.csv is finished already\n"
    assert cli.main(["predict", "b", "photos", "--shard", "2/3", "--jsonl"]) == 3
    assert [json.loads(line)["source"][7:9] for line in capsys.readouterr().out.splitlines()] == [
        "01", "04", "07", "10",
    ]  # fmt: skip


@pytest.mark.slow
def test_kill_and_repeat_gives_the_same_file() -> None:
    Path("list.txt").write_text("".join(f"photos/{n % IMAGES:02d}.png\n" for n in range(20_000)))
    words = [sys.executable, "-m", "pictorch", "predict", "b", "list.txt", "--out"]
    subprocess.run([*words, "whole.csv"], check=True, capture_output=True)
    process = subprocess.Popen([*words, "killed.csv"])
    rows = Path("killed.csv.unfinished")
    while not (rows.exists() and rows.stat().st_size > 100_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("killed.csv").exists()
    again = subprocess.run([*words, "killed.csv"], check=True, capture_output=True, text=True)
    assert "going on behind the " in again.stderr
    assert Path("killed.csv").read_bytes() == Path("whole.csv").read_bytes()
