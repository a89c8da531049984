"""docs/tutorials.md in both languages: commands parse, fields exist, figures lie in records, examples run."""

import doctest
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pictorch import cli
from pictorch.cli.parser import build_parser
from pictorch.recipe.files import load_recipe, packaged_recipes
from test_packaged_recipes import PARAMETERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXT = (DOCS / "tutorials.md").read_text()
CHINESE = (DOCS / "tutorials.zh-CN.md").read_text()
LANGUAGES = pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["English", "Chinese"])
FIELD = re.compile(r"((?:data|augment|model|loss|optimizer|schedule|train)\.\w+)(?:: (.+))?")
PYTHON = r"^```python\n(.*?)^```$"
# What the articles say themselves, wrong or right.
CLAIMED = {"85.3", "94.7", "92.1", "90.5", "64.85", "87.5", "87.57", "90.24"}


def quoted(text: str) -> list[str]:
    """Returns what stands between backticks, and the lines of the blocks of commands."""
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def commands(text: str) -> list[list[str]]:
    return [shlex.split(words)[1:] for words in quoted(text) if words.startswith("pictorch ")]


def table_rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]


@LANGUAGES
def test_every_command_is_one(text: str) -> None:
    parser = build_parser(*cli.ROOMS)
    known = set(packaged_recipes())
    assert len(commands(text)) > 40
    for words in commands(text):
        args = parser.parse_args(words)
        recipe = getattr(args, "recipe", None)
        if words[0] in ("train", "recipes", "profile") and recipe not in (None, "NAME"):
            assert recipe in known, words
        if words[0] == "train" and recipe:
            load_recipe(recipe, args.set)


@LANGUAGES
def test_every_recipe_and_field_exists_and_takes_the_value(text: str) -> None:
    known = set(packaged_recipes())
    named = {name for name in quoted(text) if re.fullmatch(r"(tutorial-[a-e]|cifar10-|folder-)[\w-]+", name)}
    assert {name for name in known if name.startswith(("tutorial-", "cifar10-"))} <= named <= known
    fields = [match for match in map(FIELD.fullmatch, quoted(text)) if match]
    assert len(fields) > 40
    for field, value in (match.groups() for match in fields):
        section, _, key = field.partition(".")
        assert key in type(getattr(load_recipe("digits"), section)).model_fields, field
        if value:
            load_recipe("cifar10-resnet18", [f"{field}={value}"])


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    elif isinstance(value, str):
        yield from map(float, re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", value))


def ways_to_print(number: float) -> set[str]:
    percent = {f"{100 * number:.2f}", f"{100 * number:.1f}"} if number <= 1 else set()
    return percent | {f"{number:,.0f}", f"{number:g}"}


def recorded(places: list[str]) -> set[str]:
    """Returns every figure of these records, as it is and as percent, and the parameter counts."""
    printed = {f"{count:,}" for count in PARAMETERS.values()}
    for place in places:
        for number in numbers_in(json.loads((DOCS / place).read_text())):
            printed |= ways_to_print(number)
    return printed


def targets(line: str, text: str) -> list[str]:
    """Returns the records that a line points at."""
    defined = dict(re.findall(r"^\[([\w-]+)\]: (\S+)$", text, re.M))
    return [defined[name] for name in re.findall(r"\]\[([\w-]+)\]", line)]


@LANGUAGES
def test_every_measured_figure_lies_in_the_record_beside_it(text: str) -> None:
    unmeasured, unfinished = ("not yet measured", "to the end") if text is TEXT else ("尚未测量", "完整训练")
    rows = [row for row in table_rows(text) if len(row) == 4 and re.match(r"[\d,]{5,}$", row[1])]
    assert len(rows) >= 14
    for _, count, _, measured in rows:
        assert count in recorded([]), f"{count} is no recipe's parameter count"
        places = targets(measured, text)
        assert places or measured == unmeasured
        assert (unmeasured in measured) == (not places or unfinished in measured)
        said = re.sub(r"\[\w+\]\[[\w-]+\]|\b2 (个 )?CPU", "", measured)
        figures = re.findall(r"\d[\d,]*(?:\.\d+)?", said)
        assert set(figures) <= recorded(places), measured


@LANGUAGES
def test_every_percentage_is_a_claim_or_lies_in_a_record_of_its_paragraph(text: str) -> None:
    assert sum(row[2].count(" %") for row in table_rows(text) if len(row) == 4) >= 6
    for paragraph in re.split(r"\n\n|\n(?=[|-])", text):
        said = set(re.findall(r"([\d.]+) %", paragraph))
        assert said <= CLAIMED | recorded(targets(paragraph, text)), paragraph


@LANGUAGES
def test_losses_that_follow_each_other_differ_as_much_as_it_says(text: str) -> None:
    (line,) = [line for line in re.split(r"\n(?=[-|#])", text) if "0.5（[" in line or "0.5 ([" in line]
    (place,) = targets(line, text)
    runs = json.loads((DOCS / place).read_text())["values"]
    losses = [[loss for _, loss in run["train_loss_of_steps"]] for run in runs]
    assert any(abs(a - b) > 0.5 for run in losses for a, b in pairwise(run))


@LANGUAGES
def test_its_links_lead_somewhere(text: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"^\[[\w-]+\]: (\S+)$", text, re.M)
    assert len(links) >= 20
    for link in links:
        page, _, anchor = link.partition("#")
        target = DOCS / page if page else None
        assert target is None or target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text() if target else text), link


def anchors(text: str) -> set[str]:
    """Returns what GitHub makes of each heading: lower case, no punctuation, a hyphen for each space."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def outline(text: str) -> list[str]:
    """Returns the levels of headings, list items and tables with their number of columns, in order."""
    starts = [re.match(r"#+ |\||- |```|\[[\w-]+\]:", line) for line in text.splitlines()]
    return [start[0] + str(start.string.count("|") * (start[0] == "|")) for start in starts if start]


def test_the_two_languages_say_the_same() -> None:
    def linked(text: str) -> list[str]:
        return [re.sub(r"^#.*", "#", link) for link in re.findall(r"\]\(([^)]+)\)", text)][1:]

    def numbers(part: str) -> list[str]:
        return sorted(re.findall(r"\d[\d,.]*\d|\d", re.sub(r"#[\w-]+\)", ")", part)))

    assert outline(CHINESE) == outline(TEXT)
    assert commands(CHINESE) == commands(TEXT)
    assert linked(CHINESE) == linked(TEXT)
    assert re.findall(PYTHON, CHINESE, re.M | re.S) == re.findall(PYTHON, TEXT, re.M | re.S)
    prose = (re.sub(PYTHON, "", text, flags=re.M | re.S) for text in (TEXT, CHINESE))
    ours, theirs = (re.split(r"^(?=#|\||- |\[)", text, flags=re.M) for text in prose)
    for one, other in zip(ours, theirs, strict=True):
        assert numbers(other) == numbers(one), other
        assert sorted(quoted(other)) == sorted(quoted(one)), other
    cells, chinese_cells = table_rows(TEXT), table_rows(CHINESE)
    assert [[bool(cell) for cell in row] for row in cells] == [
        [bool(c) for c in row] for row in chinese_cells
    ]


def test_the_chinese_page_is_written_in_chinese_punctuation() -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`|\]\([^)]*\)|^\[.*$", "", CHINESE, flags=re.M | re.S)
    prose = re.sub(r"^\[.*$", "", prose, flags=re.M)
    assert re.findall(r"[一-鿿][,;:?!()]|[,;:?!()][一-鿿]", prose) == []
    assert re.findall(r"[一-鿿]\n[一-鿿]", prose) == [], "a line break becomes a space"


def examples(number: int) -> doctest.DocTest:
    """Returns so many of the page's Python blocks, as one session."""
    blocks = re.findall(PYTHON, TEXT, re.M | re.S)
    assert len(blocks) == 2
    return doctest.DocTestParser().get_doctest("".join(blocks[:number]), {}, "tutorials.md", None, 0)


def test_its_worked_examples_are_right() -> None:
    session = examples(1)
    assert len(session.examples) == 7
    assert doctest.DocTestRunner().run(session).failed == 0


@pytest.mark.slow
def test_its_worked_examples_come_out_of_an_exported_network() -> None:
    session = examples(2)
    assert "[[15.0, 16.0], [6.0, 15.0]], [[6.0, 8.0], [15.0, 16.0]]" in session.examples[-1].want
    assert doctest.DocTestRunner().run(session).failed == 0
