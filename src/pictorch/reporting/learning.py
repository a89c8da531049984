"""How training went: curves over the epochs, what each class gained, time, memory, every epoch."""

from collections.abc import Callable, Sequence
from math import ceil, floor

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, table
from pictorch.reporting.chart import LARGE, MEDIUM, Frame, Point, Series, legend, line_chart
from pictorch.reporting.records import Record, Records

MOST_CLASS_CHARTS = 40
CLASS_LINES = {"f1": ("F1", "first"), "precision": ("precision", "second"), "recall": ("recall", "third")}


def render_curves(records: Records) -> Markup:
    """Returns the curves of loss, accuracy, learning rate and gradient norm."""
    if not records.epochs and not records.steps:
        return missing("No training step is recorded yet.")
    steps, epochs = records.steps, records.epochs

    def finest(key: str) -> list[Point]:
        return max(_points(records, steps, key), _points(records, epochs, key), key=len)

    def chart(title: str, *series: Series, fractions: bool = False, marked: bool = False) -> Markup:
        if not any(one.points for one in series):
            return missing(f"{title}: not recorded yet.")
        text = _percent if fractions else _significant
        return _chart(records, title, series, text, from_zero=not fractions, marked=marked)

    return element(
        "div",
        chart(
            "Loss",
            Series("single steps", _points(records, steps, "loss"), "faint"),
            Series("training", _points(records, epochs, "train_loss"), "second"),
            Series("validation", _points(records, epochs, "val_loss")),
            marked=True,
        ),
        chart(
            "Accuracy",
            Series("training", _points(records, epochs, "train_accuracy"), "second"),
            Series("validation", _points(records, epochs, "val_accuracy")),
            fractions=True,
            marked=True,
        ),
        chart("Learning rate", Series("learning rate", finest("lr"), "second")),
        chart("Gradient norm", Series("gradient norm", finest("gradient_norm"), "second")),
        class_="charts",
    )


def render_class_curves(records: Records) -> Markup | None:
    """Returns a small chart for each class: F1, precision and recall of every validation."""
    lines = [line for line in records.epochs if line.get("val_classes")]
    if not lines:
        return None
    last = lines[-1]["val_classes"]["f1"]
    order = sorted(range(len(last)), key=lambda label: last[label])[:MOST_CLASS_CHARTS]
    late = [
        line["val_classes"][key][label]
        for line in lines[len(lines) // 4 :]
        for key in CLASS_LINES
        for label in order
    ]
    low, high = floor(min(*late, 0.9) * 10) / 10, ceil(max(late) * 10) / 10
    best = records.best_epoch()

    def chart(label: int) -> Markup:
        series = [
            Series(name, [(line["epoch"], line["val_classes"][key][label]) for line in lines], style)
            for key, (name, style) in CLASS_LINES.items()
        ]
        return line_chart(
            records.class_name(label),
            series,
            x_label="epoch",
            x_end=lines[-1]["epoch"],
            y_text=_percent,
            from_zero=False,
            mark=best["epoch"] if best else None,
            small_range=(low, high),
        )

    names = [Series(name, [], style) for name, style in CLASS_LINES.values()]
    which = "The" if len(order) == len(last) else f"The {len(order)} lowest of {len(last)}"
    return group(
        element("h3", "Over the epochs"),
        element(
            "p",
            f"{which} classes by their last F1 on the validation images, the lowest first. Early values "
            "outside the axes lie on their edge.",
        ),
        element("p", legend(names), class_="note"),
        element("div", *map(chart, order), class_="charts small"),
    )


def render_epochs(records: Records) -> Markup:
    """Returns time and memory as curves, and a row for each epoch with all its numbers."""
    if not records.epochs:
        return missing("No epoch is finished yet.")
    timing = {line["epoch"]: line for line in records.epoch_timing}
    best = records.best_epoch()
    rows = []
    for epoch in records.epochs:
        times = timing.get(epoch["epoch"], {})
        rows.append(
            [
                group(epoch["epoch"], element("span", " best", class_="best") if epoch is best else None),
                formats.decimal(epoch.get("train_loss")),
                _percent_or_dash(epoch.get("train_accuracy")),
                formats.decimal(epoch.get("val_loss")),
                _percent_or_dash(epoch.get("val_accuracy")),
                formats.decimal(times.get("seconds"), 1),
                formats.count(times.get("images_per_second")),
                formats.megabytes(times.get("peak_memory_bytes")),
            ]
        )
    heads = ["epoch", "training loss", "training accuracy", "validation loss", "validation accuracy"]
    heads += ["seconds", "images/s", "peak memory"]
    charts = {
        "Seconds an epoch": ("seconds", _significant),
        "Images a second": ("images_per_second", formats.count),
        "Peak memory": ("peak_memory_bytes", formats.megabytes),
    }
    drawn = [
        _chart(records, title, [Series(title.lower(), points, "second")], text, frame=MEDIUM)
        for title, (key, text) in charts.items()
        if (points := _points(records, records.epoch_timing, key))
    ]
    return group(
        element("div", *drawn, class_="charts thirds") if drawn else None,
        table("Epochs", heads, rows, numeric=range(len(heads))),
    )


def _chart(
    records: Records,
    title: str,
    series: Sequence[Series],
    text: Callable[[float], str],
    *,
    from_zero: bool = True,
    marked: bool = False,
    frame: Frame = LARGE,
) -> Markup:
    best = records.best_epoch() if marked else None
    unit = _steps_per_unit(records)
    lines = records.epochs + records.steps
    return line_chart(
        title,
        series,
        x_label="epoch" if records.epochs else "step",
        x_end=max(1.0, max(line["step"] for line in lines) / unit),
        y_text=text,
        from_zero=from_zero,
        mark=best["step"] / unit if best else None,
        frame=frame,
    )


def _points(records: Records, lines: list[Record], key: str) -> list[Point]:
    unit = _steps_per_unit(records)
    return [(line["step"] / unit, line[key]) for line in lines if line.get(key) is not None]


def _steps_per_unit(records: Records) -> float:
    """Steps are shown as epochs as soon as a finished epoch says how many steps it has."""
    return float(records.epochs[0]["step"]) if records.epochs else 1.0  # of the first: the last may be short


def _significant(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{value * 100:.4g} %"


def _percent_or_dash(value: float | None) -> str:
    return "–" if value is None else formats.percent(value)
