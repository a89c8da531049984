"""The pictures of `data show` as PNG: samples, class counts, augmented images. matplotlib's one door."""

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pictorch.datasets.contents import Pixels

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it tells where it keeps its font list

from matplotlib.backends.backend_agg import RendererAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import FontProperties, fontManager, get_font  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

_DPI = 144
_INK, _MUTED, _GRID = "#111827", "#6b7280", "#e5e7eb"
_COLORS = {"train": "#2563eb", "val": "#f59e0b", "test": "#0d9488"}
_MARGIN, _GAP = 28, 8  # pixels
_TITLE_HEIGHT = 84
_SMALL_SIDE = 48  # pixels; up to it every pixel is to be seen
_NAME_WIDTH = 190  # pixels that a class name takes at most; what is longer ends in …
_MOST_BARS = 40
# Of families that have a character, the first kind in this list is taken.
_KINDS_OF_FONT = ("CJK SC", "Sans SC", "PingFang SC", "YaHei", "WenQuanYi Micro", "Sans", "")


@dataclass(frozen=True)
class Lettering:
    """Fonts of this machine for class names of any script, and a number where no font has a glyph."""

    families: tuple[str, ...]
    numbered: dict[str, str]  # name: what stands for it

    @staticmethod
    def of(class_names: Sequence[str]) -> "Lettering":
        """Returns the families that together have the characters of the names, as few as there need be."""
        charmaps = {"DejaVu Sans": _characters("DejaVu Sans")}
        for character in sorted({character for name in class_names for character in name}):
            if not any(ord(character) in charmap for charmap in charmaps.values()):
                family = _family_with(ord(character))
                if family:
                    charmaps[family] = _characters(family)
        known = set().union(*charmaps.values())
        numbered = {
            name: f"class {number}"
            for number, name in enumerate(class_names)
            if not set(map(ord, name)) <= known
        }
        return Lettering(tuple(charmaps), numbered)

    def __call__(self, name: str, size: float = 8, width: float = _NAME_WIDTH) -> str:
        """Returns the name as it is drawn: cut to `width` pixels at a size in points, or as its number."""
        whole = name = self.numbered.get(name, name)
        while len(name) > 1 and self.width(name if name == whole else f"{name}…", size) > width:
            name = name[:-1]
        return name if name == whole else f"{name.rstrip()}…"

    def width(self, text: str, size: float = 8) -> float:
        """Returns the pixels that a line of text takes at a size in points."""
        font = FontProperties(family=list(self.families), size=size)
        renderer: Any = RendererAgg  # matplotlib gives it no types
        return float(renderer(1, 1, _DPI).get_text_width_height_descent(text, font, False)[0])


def _regular_fonts() -> Iterable[Any]:
    return (
        font
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular") and font.size == "scalable"
    )


def _characters(family: str) -> set[int]:
    font = next(font for font in _regular_fonts() if font.name == family)
    return set(get_font(font.fname).get_charmap())


def _family_with(code_point: int) -> str | None:
    def rank(name: str) -> tuple[int, str]:
        return next(place for place, kind in enumerate(_KINDS_OF_FONT) if kind in name), name

    families: dict[str, str] = {font.name: font.fname for font in _regular_fonts()}
    for name in sorted(families, key=rank):
        is_plain = not {"Mono", "Emoji", "Color", "Resort"} & set(name.replace("-", " ").split())
        if is_plain and get_font(families[name]).get_char_index(code_point):
            return name
    return None


class _Sheet:
    """A white sheet measured in pixels from its upper left corner, with pictures and text on it."""

    def __init__(self, width: int, height: int, lettering: Lettering) -> None:
        self.figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._canvas = np.full((height, width, 3), 255, np.uint8)
        self._lettering = lettering

    def picture(self, pixels: Pixels, x: int, y: int, side: int) -> None:
        """Puts a square picture at (x, y), `side` pixels large; a small one is enlarged by a whole factor."""
        own = len(pixels)
        if own <= _SMALL_SIDE or side % own == 0:
            pixels = pixels.repeat(side // own, axis=0).repeat(side // own, axis=1)
        else:
            resized = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
            pixels = np.asarray(resized)
        margin = (side - len(pixels)) // 2
        top, left = y + margin, x + margin
        self._canvas[top : top + len(pixels), left : left + len(pixels)] = pixels

    def text(self, text: str, x: float, y: float, size: float = 8, color: str = _INK, **how: Any) -> None:
        """Writes a line whose middle is at y, from x on."""
        height, width = self._canvas.shape[:2]
        self.figure.text(
            x / width, 1 - y / height, text, va="center", size=size, color=color, parse_math=False,
            family=self._lettering.families, **how,
        )  # fmt: skip

    def title(self, title: str, subtitle: str) -> None:
        """Writes the two lines at the head of the sheet, the second cut to its width."""
        self.text(title, _MARGIN, _MARGIN + 10, size=12, weight="bold")
        room = self._canvas.shape[1] - 2 * _MARGIN
        self.text(self._lettering(subtitle, 7.5, room), _MARGIN, _MARGIN + 38, size=7.5, color=_MUTED)

    def png(self) -> bytes:
        """Returns the sheet as the bytes of a PNG file."""
        self.figure.figimage(self._canvas, origin="upper", zorder=-1)
        return _png(self.figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def draw_samples(
    samples: Mapping[str, Sequence[Pixels]], title: str, subtitle: str, lettering: Lettering
) -> bytes:
    """Returns a PNG: a row of images for each class, or of many classes one image each with its name."""
    side = _tile_side(pixels for images in samples.values() for pixels in images)
    if max(map(len, samples.values()), default=0) > 1:
        return _rows(dict(samples), [], title, subtitle, side, lettering)
    columns = min(10, len(samples))
    step_x, step_y = side + 3 * _GAP, side + 5 * _GAP
    rows = -(-len(samples) // columns)
    sheet = _Sheet(2 * _MARGIN + columns * step_x, _TITLE_HEIGHT + rows * step_y + _MARGIN, lettering)
    sheet.title(title, subtitle)
    for place, (name, images) in enumerate(samples.items()):
        x, y = _MARGIN + place % columns * step_x, _TITLE_HEIGHT + place // columns * step_y
        for pixels in images:
            sheet.picture(pixels, x, y, side)
        sheet.text(lettering(name, 6, side + 2 * _GAP), x + side / 2, y + side + 14, size=6, ha="center")
    return sheet.png()


def draw_augmented(
    rows: Sequence[tuple[str, Sequence[Pixels]]], title: str, subtitle: str, lettering: Lettering
) -> bytes:
    """Returns a PNG: in each row an image as it is stored, and then as the first epochs see it."""
    side = _tile_side(pixels for _, images in rows for pixels in images)
    epochs = max((len(images) for _, images in rows), default=1) - 1
    heads = ["as stored", *(f"epoch {epoch + 1}" for epoch in range(epochs))]
    return _rows(list(rows), heads, title, subtitle, side, lettering)


def _rows(
    rows: Any, heads: Sequence[str], title: str, subtitle: str, side: int, lettering: Lettering
) -> bytes:
    rows = list(rows.items() if isinstance(rows, Mapping) else rows)
    names = 24 + round(max((lettering.width(lettering(name)) for name, _ in rows), default=0))
    columns = max((len(images) for _, images in rows), default=1)
    apart = 2 * _GAP if heads else 0  # what is stored stands apart from what is drawn anew
    top = _TITLE_HEIGHT + (26 if heads else 0)
    width = 2 * _MARGIN + names + columns * (side + _GAP) + apart
    sheet = _Sheet(max(width, 640), top + len(rows) * (side + _GAP) + _MARGIN, lettering)
    sheet.title(title, subtitle)
    left = [_MARGIN + names + place * (side + _GAP) + (apart if place else 0) for place in range(columns)]
    for head, x in zip(heads, left, strict=False):
        sheet.text(head, x + side / 2, top - 14, size=7, color=_MUTED, ha="center")
    for number, (name, images) in enumerate(rows):
        y = top + number * (side + _GAP)
        sheet.text(lettering(name), _MARGIN, y + side / 2)
        for x, pixels in zip(left, images, strict=False):
            sheet.picture(pixels, x, y, side)
    return sheet.png()


def _tile_side(pictures: Iterable[Pixels]) -> int:
    return 96 if max(map(len, pictures), default=0) <= _SMALL_SIDE else 128


def draw_class_counts(
    class_names: Sequence[str], counts: Mapping[str, Sequence[int]], title: str, lettering: Lettering
) -> bytes:
    """Returns a PNG: a bar for each class, divided into the splits; of very many the largest and smallest."""
    totals = np.sum([counts[split] for split in counts], axis=0)
    shown = list(range(len(class_names)))
    subtitle = f"{totals.sum():,} images · {', '.join(f'{sum(c):,} {split}' for split, c in counts.items())}"
    if len(shown) > _MOST_BARS:
        order = np.argsort(-totals, kind="stable").tolist()
        shown = order[: _MOST_BARS // 2] + order[-_MOST_BARS // 2 :]
        subtitle += f" · the {_MOST_BARS // 2} largest and smallest of {len(order):,} classes"
    row = 34
    height = _TITLE_HEIGHT + row * len(shown) + 90
    sheet = _Sheet(1100, height, lettering)
    sheet.title(title, subtitle)
    axes = sheet.figure.add_axes((0.21, 60 / height, 0.7, row * len(shown) / height))
    start = np.zeros(len(shown))
    for split, numbers in counts.items():
        values = np.array([numbers[number] for number in shown])
        axes.barh(range(len(shown)), values, 0.72, start, color=_COLORS[split], label=split)
        start += values
    for place, number in enumerate(shown):
        text = f"{totals[number]:,}"
        axes.annotate(text, (start[place], place), (6, 0), textcoords="offset points", va="center",
                      size=7, color=_MUTED)  # fmt: skip
        y = height - 60 - row * (len(shown) - place - 0.5)
        sheet.text(lettering(class_names[number]), 0.2 * 1100, y, ha="right")
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, max(1, start.max()) * 1.02)
    axes.set_yticks([])
    axes.tick_params(axis="x", colors=_MUTED, labelsize=7, length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    if len(counts) > 1:
        sheet.figure.legend(ncols=3, loc="upper right", frameon=False, fontsize=8,
                            bbox_to_anchor=(0.97, 1 - 10 / height))  # fmt: skip
    return sheet.png()
