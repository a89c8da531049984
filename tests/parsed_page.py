"""The report of a run, parsed: its text, its cells and its attributes."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser

from pictorch.reporting import render_report
from pictorch.run_folder import RunFolder

VOID = {"meta", "link", "img", "br", "input"}
SECTIONS = [
    "result",
    "curves",
    "classes",
    "confusion",
    "mistakes",
    "hits",
    "samples",
    "data",
    "epochs",
    "layers",
    "recipe",
    "environment",
]

MakeRun = Callable[..., RunFolder]


class Page(HTMLParser):
    """Parses a page, fails on unbalanced tags, and keeps its text, ids and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute stands twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    @property
    def cells(self) -> list[str]:
        return [piece.strip() for piece in self.pieces if piece.strip()]

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def read(run: RunFolder) -> Page:
    """Renders and parses; every page of every test goes through these checks."""
    page = Page(render_report(run).read_text("utf-8"))
    assert page.html.startswith("<!doctype html>")
    assert [tag for tag, _ in page.tags][:2] == ["html", "head"]
    ids = page.values("id")
    assert [one for one in ids if one not in ("theme", "only-marked", "tip")] == SECTIONS
    assert len(set(ids)) == len(ids)
    for link in page.values("href"):
        assert link == "data:," or link.removeprefix("#") in ids
    assert all(source.startswith("data:image/") for source in page.values("src"))
    html = page.html.replace("http://www.w3.org/2000/svg", "")  # a name that the script needs, not a place
    assert not re.search(r"url\(|@import|https?:|nan\b|\bNone\b|Markup", html)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    assert b64encode(sha256(script.encode()).digest()).decode() in (page.values("content")[0])
    return page


def windows(cells: list[str], length: int) -> list[list[str]]:
    """Returns every run of `length` neighbouring texts."""
    return [cells[start : start + length] for start in range(len(cells) - length + 1)]
