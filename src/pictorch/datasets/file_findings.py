"""Findings about single files: those that cannot be read, and those that are odd."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pictorch.datasets.contents import Contents
from pictorch.datasets.findings import Finding, Severity
from pictorch.datasets.survey import FileFacts, Survey
from pictorch.images import shown

_TINY_SIDE = 8
_LONG_RATIO = 3
_HUGE_PIXELS = 40_000_000
_KIND_OF_ENDING = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP",
    ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM",
}  # fmt: skip
_SAME_KIND = {"MPO": "JPEG", "DIB": "BMP"}  # a JPEG with more pictures behind it; a BMP without its header


@dataclass(frozen=True)
class _Oddity:
    severity: Severity
    what: str  # follows the number of images
    remedy: str
    reason: Callable[[FileFacts, str], str]  # of the facts and the name; '' where nothing is odd


def file_findings(contents: Contents, survey: Survey) -> list[Finding]:
    """Returns the broken and the odd files of all parts, each kind as one finding with its paths."""
    broken = tuple(
        f"{shown(pictures.names[row])}: {reason}"
        for part, pictures in contents.parts.items()
        for row, reason in survey[part].failures.items()
    )
    findings = []
    if broken:
        remedy = "mend or remove them: training refuses such images, unless data.on_bad is skip"
        findings.append(Finding("error", f"{images(len(broken))} cannot be read", remedy, broken))
    files = [
        (facts, name)
        for part, pictures in contents.parts.items()
        for facts, name in zip(survey[part].files(), pictures.names, strict=True)
        if facts.width
    ]
    for oddity in _ODDITIES:
        found = [(name, oddity.reason(facts, name)) for facts, name in files]
        where = tuple(f"{shown(name)}: {reason}" for name, reason in found if reason)
        if where:
            what = f"{images(len(where))} {oddity.what}"
            findings.append(Finding(oddity.severity, what, oddity.remedy, where))
    return findings + _mixed_sizes([facts for facts, _ in files])


def images(count: int) -> str:
    """Returns '1 image' or '2,000 images'."""
    return "1 image" if count == 1 else f"{count:,} images"


def _mixed_sizes(files: list[FileFacts]) -> list[Finding]:
    sides = Counter(min(facts.width, facts.height) for facts in files)
    if len(sides) < 2:
        return []
    what = f"the shorter sides differ, from {min(sides):,} to {max(sides):,} pixels"
    remedy = "nothing, with a recipe that sets data.image_size, as folder-small does"
    return [Finding("info", what, remedy)]


def _tiny(facts: FileFacts, name: str) -> str:
    return f"{facts.width} x {facts.height}" if min(facts.width, facts.height) < _TINY_SIDE else ""


def _long(facts: FileFacts, name: str) -> str:
    short, long = sorted((facts.width, facts.height))
    return f"{facts.width} x {facts.height}" if long > _LONG_RATIO * short and short >= _TINY_SIDE else ""


def _huge(facts: FileFacts, name: str) -> str:
    megapixels = facts.width * facts.height / 1e6
    return f"{megapixels:.0f} megapixels" if megapixels * 1e6 >= _HUGE_PIXELS else ""


def _misnamed(facts: FileFacts, name: str) -> str:
    kind, expected = facts.kind.decode(), _KIND_OF_ENDING.get(os.path.splitext(name)[1].casefold())
    return f"is {kind}" if kind and expected and _SAME_KIND.get(kind, kind) != expected else ""


def _animated(facts: FileFacts, name: str) -> str:
    return facts.kind.decode() if facts.several_frames and facts.kind != b"MPO" else ""


def _other_colors(facts: FileFacts, name: str) -> str:
    return facts.mode.decode() if facts.mode in (b"CMYK", b"LAB", b"YCbCr") or facts.mode[:2] == b"I;" else ""


_ODDITIES = (
    _Oddity("warning", f"with a side below {_TINY_SIDE} pixels", "remove what shows nothing", _tiny),
    _Oddity(
        "warning",
        "of one colour only",
        "remove what shows nothing",
        lambda facts, name: f"{facts.width} x {facts.height}" if facts.one_color else "",
    ),
    _Oddity(
        "warning",
        f"more than {_LONG_RATIO} times as long as wide",
        "cut them to what matters: only the centre square is seen, unless data.fit is pad or stretch",
        _long,
    ),
    _Oddity("info", "very large", "nothing, but decoding them takes a while, the first time", _huge),
    _Oddity(
        "info", "with another ending than their content", "nothing, the content is what counts", _misnamed
    ),
    _Oddity("info", "with several frames", "nothing, the first frame is used", _animated),
    _Oddity("info", "in CMYK, LAB or 16 bits", "nothing, they become 8-bit RGB", _other_colors),
    _Oddity(
        "info",
        "turned upright by their EXIF orientation",
        "nothing, prediction does the same",
        lambda facts, name: f"{facts.width} x {facts.height}" if facts.turned else "",
    ),
)
