"""predict --out: files of predictions, whole or in shards, that a stopped call goes on with."""

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pictorch
from messages.faults import full_disk, ordinary_rights
from pictorch import cli, durable
from pictorch.errors import DataError, MissingPartError, RecipeError, ResourceError, RunInUseError
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


def left(name: str) -> list[str]:
    return sorted(each for each in os.listdir() if name in each)


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
    places: dict[int, int] = {}
    for number in range(1, count + 1):
        shard = Shard.parse(f"{number}/{count}")
        if number > entries and count > 1:
            with pytest.raises(DataError, match=f"shard {number}/{count} of the images is empty"):
                next(shard.of(range(entries)))
            continue
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


@pytest.mark.parametrize("damage", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"row": 3, "sou\n', b"{}\n", b"7\n"])
def test_what_a_loss_of_power_left_is_answered_again(damage: bytes) -> None:
    """Whole rows may follow what never reached the disk."""
    predict("all.jsonl")
    whole = Path("all.jsonl").read_bytes()
    rows = whole.splitlines(keepends=True)
    Path("all.jsonl").rename("all.jsonl.unfinished")
    Path("all.jsonl.unfinished").write_bytes(b"".join([*rows[:3], damage, *rows[4:7]]))
    assert predict("all.jsonl").rows_before == 3
    assert Path("all.jsonl").read_bytes() == whole


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_on_a_full_disk_rows_are_kept_and_then_gone_on_with(suffix: str) -> None:
    Path("list.txt").write_text("photos/00.png\nphotos/04.png\n" * 400)
    whole, full = f"whole.{suffix}", f"full.{suffix}"
    pictorch.predict("b", ["list.txt"], out=whole)
    threads = set(threading.enumerate())
    with (
        full_disk(40_000)(),
        pytest.raises(ResourceError, match=r"no space left while writing full\.") as kept,
    ):
        pictorch.predict("b", ["list.txt"], out=full)
    assert set(threading.enumerate()) <= threads, f"no thread outlives the call, though {kept} is kept"
    assert left("full") == [f"{full}.json", f"{full}.unfinished"]
    made = pictorch.predict("b", ["list.txt"], out=full)
    assert isinstance(made, PredictionFile)
    assert 0 < made.rows_before < made.rows == 800
    assert Path(full).read_bytes() == Path(whole).read_bytes()


def test_a_folder_that_may_not_be_written_is_left_as_it_is() -> None:
    Path("closed").mkdir(mode=0o500)
    with (
        ordinary_rights(),
        pytest.raises(ResourceError, match=r"cannot write closed/.* \(Permission denied\)"),
    ):
        predict("closed/all.csv")
    assert os.listdir("closed") == []
    Path("file").touch()
    with pytest.raises(ResourceError, match="cannot write file/all"):
        predict("file/all.csv")


def test_an_interruption_keeps_what_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_text("photos/00.png\n" * 1000)
    pictorch.predict("b", ["list.txt"], out="whole.csv")
    real, calls = durable.append_line, []

    def interrupted(*args: Any, **options: Any) -> None:
        calls.append(real(*args, **options))
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(durable, "append_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pictorch.predict("b", ["list.txt"], out="some.csv")
    assert left("some") == ["some.csv.json", "some.csv.unfinished"]
    again = pictorch.predict("b", ["list.txt"], out="some.csv")
    assert isinstance(again, PredictionFile)
    assert again.rows_before == 3 * 64
    assert Path("some.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_list_may_hold_anything() -> None:
    """Each line has its row, at its place, and what is no image has its own reason."""
    Path("photos/ä b.png").write_bytes(Path("photos/00.png").read_bytes())
    Path("photos/empty.png").touch()
    Path("photos/closed.png").touch(mode=0)
    Path("photos/round.png").symlink_to("round.png")
    Image.new("1", (20_000, 20_000)).save("photos/bomb.png")
    undecodable = os.fsdecode(b"photos/\xff.png")
    Path(undecodable).write_bytes(Path("photos/00.png").read_bytes())
    reasons = {
        "00.png": "",
        "ä b.png": "",
        f"{Path.cwd()}/photos/00.png": "",
        "../photos/00.png": "",
        "\udcff.png": "",
        "empty.png": "the file is empty",
        "closed.png": "cannot be read (Permission denied)",
        "round.png": "is no regular file",
        "bomb.png": "more than 178,956,970 pixels",
        "none.png": "cannot be read (No such file",
        "../photos": "is no regular file",
    }
    lines = "".join(f"{name} \r\n\r\n  \r\n" for name in reasons)
    Path("photos/list.txt").write_bytes(b"\xef\xbb\xbf" + os.fsencode(lines))
    with ordinary_rights():
        made = [pictorch.predict("b", ["photos/list.txt"], out=f"all.{kind}") for kind in ("csv", "parquet")]
    from pyarrow import parquet

    rows = table("all.csv")
    assert [row["source"] for row in parquet.read_table("all.parquet").to_pylist()] == [
        row["source"] for row in rows
    ]
    assert [each.refused for each in made if isinstance(each, PredictionFile)] == [6, 6]
    for row, (name, reason) in zip(rows, reasons.items(), strict=True):
        source = name if name.startswith("/") else f"photos/{name}"
        assert row["source"] == source.encode(errors="backslashreplace").decode()
        assert (reason in row["error"]) if reason else (row["error"], row["class_1"]) == ("", "red")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("fotos", "fotos is not there"),
        ("none.txt", "none.txt is not there"),
        ("empty", "empty holds no image"),
        ("no/**/*.png", "matches no file"),
        ("nothing.csv", "nothing.csv names no image"),
    ],
)
def test_a_source_of_nothing_is_refused_by_every_shard(source: str, says: str) -> None:
    Path("empty").mkdir()
    Path("nothing.csv").write_text("path,label\n")
    before = sorted(os.listdir())
    for shard in ("1/2", "2/2"):
        with pytest.raises(DataError, match=re.escape(says)):
            pictorch.predict("b", [source], shard=shard, out="all.csv")
        with pytest.raises(DataError):
            pictorch.predict("b", ["photos", source], shard=shard, out="all.csv")
        for left in Path().glob("all.csv.*"):
            left.unlink()
    assert sorted(os.listdir()) == before


def test_a_file_finished_by_another_meanwhile_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = fcntl.flock, []

    def flock(file: Any, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            predict("all.csv")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunInUseError, match="another process writes"):
        predict("all.csv")
    assert len(calls) == 2
    assert predict("all.csv").rows_before == IMAGES
    assert sorted(os.listdir()) == ["all.csv", "all.csv.json", "b", "photos"]


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
    for options in ((), ("--json",), ("--jsonl",)):
        assert cli.main(["predict", "b", "photos", "--shard", "12/12", *options]) == 3


def test_a_file_has_one_writer() -> None:
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
