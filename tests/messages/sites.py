"""Every place in the source where an error is made that can reach a user, found by walking its syntax."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pictorch

ROOT = Path(pictorch.__file__).parent


@dataclass(frozen=True, order=True)
class Site:
    """A raise, or a finding that becomes one: its lines in a file of pictorch, what it makes, its text."""

    file: str
    first_line: int
    last_line: int
    kind: str
    source: str
    words: str

    def __str__(self) -> str:
        return f"src/pictorch/{self.file}:{self.first_line}: {self.source}"


@cache
def sites() -> tuple[Site, ...]:
    """Returns all raises of the source but bare ones, and all findings of severity 'error'."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_bytes()
        lines_of_file = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if kind := _kind(node):
                assert isinstance(node, ast.stmt | ast.expr)
                source = _segment(lines_of_file, node)
                file = path.relative_to(ROOT).as_posix()
                lines = node.lineno, node.end_lineno or node.lineno
                found.append(Site(file, *lines, kind, source, _longest_text(node)))
    return tuple(sorted(found))


@cache
def _by_file() -> dict[str, list[Site]]:
    files: dict[str, list[Site]] = {}
    for site in sites():
        files.setdefault(site.file, []).append(site)
    return files


def site_at(filename: str, line: int) -> Site | None:
    """Returns the innermost site that a line of a file lies in."""
    path = Path(filename)
    if not path.is_relative_to(ROOT):
        return None
    around = [
        site
        for site in _by_file().get(path.relative_to(ROOT).as_posix(), [])
        if site.first_line <= line <= site.last_line
    ]
    return min(around, key=lambda site: site.last_line - site.first_line, default=None)


def _segment(lines: list[bytes], node: ast.stmt | ast.expr) -> str:
    """Returns the text of a node on one line; ast.get_source_segment splits the whole file for each."""
    rows = lines[node.lineno - 1 : node.end_lineno]
    rows[-1] = rows[-1][: node.end_col_offset]
    rows[0] = rows[0][node.col_offset :]
    return " ".join(b"\n".join(rows).decode().split())


def _kind(node: ast.AST) -> str:
    """Returns what a node that is a site makes, '' for any other node."""
    if isinstance(node, ast.Raise) and node.exc is not None:
        return ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
        severity = ast.unparse(node.args[0]) if node.args else ""
        return "Finding" if "'error'" in severity else ""
    return ""


def _longest_text(node: ast.AST) -> str:
    texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
    return max((text for text in texts if isinstance(text, str)), key=len, default="").strip()
