"""The README, held to its word: its commands and Python lines run, its figures and names are real."""

import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from PIL import Image

from made_data import MadeCifar, noise
from pictorch import cli
from pictorch.errors import MissingPartError
from pictorch.exporting.web import check_runtime
from pictorch.networks.tutorials import LeNet
from served_process import in_thread

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()
LANGUAGES = pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["README.md", "README.zh-CN.md"])


def blocks(text: str, kind: str) -> list[str]:
    """Returns the fenced blocks of a kind: '' for commands and trees, 'python', 'text'."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for said, block in fenced if said == kind]


def commands(text: str, program: str) -> list[list[str]]:
    """Returns the words after `program` of every line that starts with it, without its comment."""
    lines = [line for block in blocks(text, "") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


def reduced(words: list[str]) -> list[str]:
    """Returns a command that trains for one epoch on one thread, or, when it resumes, for two."""
    if words[0] not in ("train", "bench"):
        return words
    words = [*words, "--set", "train.threads=1"] if "--resume" not in words else list(words)
    if "--epochs" in words:
        words[words.index("--epochs") + 1] = "2"
        return words
    return words if "--resume" in words else [*words, "--epochs", "1"]


def has_runtime() -> bool:
    """Returns whether `make web-runtime` has been run, for `export --to web`."""
    try:
        check_runtime()
    except MissingPartError:
        return False
    return True


def write_photos(root: Path) -> None:
    """Writes three classes of pictures of mixed sizes and formats."""
    for number, name in enumerate(("bridge", "flower", "harbour")):
        (root / name).mkdir(parents=True)
        for index in range(16):
            pixels = noise(70 + 3 * index, 96 - index, 100 * number + index)
            suffix = ("jpg", "png", "webp")[index % 3]
            Image.fromarray(pixels).save(root / name / f"{index}.{suffix}")


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    MadeCifar(per_batch=40).write_batches(tmp_path / "data")
    write_photos(tmp_path / "photos")
    Image.fromarray(noise(300, 200)).save("photo.jpg")
    torch.save(LeNet(10, 32).state_dict(), "net.pth")
    given = commands(TEXT, "pictorch")
    assert len(given) >= 12
    for words in given:
        if words[0] == "serve":
            with in_thread(Path(words[1])) as server, urlopen(f"{server.url}/v2/health/ready") as answer:
                assert answer.status == 200
            continue
        said, is_short = io.StringIO(), "web" in words and not has_runtime()
        with redirect_stdout(said):
            assert cli.main(reduced(words)) == (9 if is_short else 0), words
        assert said.getvalue() or is_short, words
    for made in ("bundle/bundle.json", "report.html", "evaluation/test.json"):
        assert Path("runs/folder-small-001", made).is_file()


@pytest.mark.slow
def test_its_python_lines_run() -> None:
    Image.fromarray(noise(300, 200)).save("photo.jpg")
    (program,) = blocks(TEXT, "python")
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    interval, answer = done.stdout.splitlines()
    assert re.fullmatch(r"\(0\.\d+, 0\.\d+\)", interval)
    assert answer.count("('") == 3


@LANGUAGES
def test_its_make_lines_name_targets(text: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert commands(text, "make") == [["demo"], ["test"]]
    assert {target for (target,) in commands(text, "make")} <= targets


@LANGUAGES
def test_its_parts_can_be_installed(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = re.findall(r"`pip install '?pictorch(?:\[(\w+)\])?'?`", text)
    assert lines == ["", *project["optional-dependencies"]]


@LANGUAGES
def test_its_tree_is_the_real_one(text: str) -> None:
    (tree,) = [block for block in blocks(text, "") if block.startswith("src/pictorch/\n")]
    inside = re.findall(r"^  ([\w.]+)(/?) {2,}\S", tree, re.MULTILINE)
    package = ROOT / "src/pictorch"
    there = {
        (path.name, "/" if path.is_dir() else "")
        for path in package.iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    }
    assert len(inside) == len(set(inside))
    assert set(inside) == there
    for name in re.findall(r"^([\w]+)/ {2,}\S", tree, re.MULTILINE):
        assert (ROOT / name).is_dir(), name


@LANGUAGES
def test_what_it_points_at_is_there(text: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    places = re.findall(r"`((?:tests|benchmarks|docs|src|examples)/[\w./]*)`", text)
    assert len(links) > 10
    assert any(place.startswith("tests/") for place in places)
    for place in [*links, *places]:
        assert (ROOT / place).exists(), place


def results(text: str) -> list[list[str]]:
    """Returns the cells of the results table: command, accuracy, n, time, machine and date."""
    rows = re.findall(r"^\| `pictorch train .*\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def record_of(command: str) -> tuple[Path, dict[str, Any]]:
    for path in sorted((ROOT / "benchmarks/results").glob("*.json")):
        record = json.loads(path.read_text())
        if record["command"].startswith(f"{command.strip('`')} --seed N; pictorch evaluate RUN --split test"):
            return path, record
    raise AssertionError(f"no record of {command}")


def seconds_in(value: Any) -> set[str]:
    """Returns the rounded seconds anywhere in a record."""
    if isinstance(value, dict):
        own = {f"{value[key]:,.0f}" for key in value if key.endswith("seconds")}
        return own.union(*map(seconds_in, value.values()))
    return set().union(*map(seconds_in, value)) if isinstance(value, list) else set()


@LANGUAGES
def test_its_results_are_those_of_the_records(text: str) -> None:
    rows = results(text)
    assert len(rows) >= 3
    for command, accuracy, n, time, machine in rows:
        path, record = record_of(command)
        mean, std = 100 * record["mean_test_accuracy"], 100 * record["std_test_accuracy"]
        assert accuracy == f"{mean:.2f} % ± {std:.2f}", path
        assert re.findall(r"\d+", n) == [str(record["n"])], path
        assert len(record["values"]) == record["n"]
        assert set(re.findall(r"\d[\d,]*", time)) <= seconds_in(record), path
        assert re.findall(r"\d{4}-\d\d-\d\d", machine) == [path.name[:10]], path
    assert "AMD EPYC" in rows[0][4]
    assert all("AMD EPYC" in record_of(row[0])[1]["machine"] for row in rows)


def test_the_chinese_page_says_the_same() -> None:
    assert commands(CHINESE, "pictorch") == commands(TEXT, "pictorch")
    assert blocks(CHINESE, "python") == blocks(TEXT, "python")
    assert blocks(CHINESE, "text") == blocks(TEXT, "text")
    assert [row[:2] for row in results(CHINESE)] == [row[:2] for row in results(TEXT)]
    named = r"`(tests/[\w./]*)`"
    assert re.findall(named, CHINESE) == re.findall(named, TEXT)
    assert links(CHINESE) == links(TEXT)
    assert [line.split()[0] for line in headings(CHINESE)] == [line.split()[0] for line in headings(TEXT)]
    for one, other in zip(sections(TEXT), sections(CHINESE), strict=True):
        assert shape(other) == shape(one), other
        assert figures(other) == figures(one), other


def links(text: str) -> list[str]:
    """Returns what it links to; a Chinese page counts as its English one."""
    return [link.replace(".zh-CN.md", ".md") for link in re.findall(r"\]\(([^)]+)\)", text)]


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .+$", without_blocks(text), re.MULTILINE)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> list[str]:
    return re.split(r"^(?=#+ )", without_blocks(text), flags=re.MULTILINE)


def shape(section: str) -> list[int]:
    """Returns a number for each line that is not empty: the bars of a table's row, else 0."""
    return [line.count("|") * line.startswith("|") for line in section.splitlines() if line]


def figures(section: str) -> list[str]:
    """Returns its numbers, in order of size, since languages put them in another order."""
    said = re.sub(r"\]\([^)]*\)|\w*\.zh-CN", "", section)
    return sorted(re.findall(r"\d[\d,.]*\d|\d", said))


@LANGUAGES
def test_it_is_read_in_two_minutes(text: str) -> None:
    assert len(text.splitlines()) <= 180
