"""How training went: curves over the epochs, and the epochs as a table."""

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, table
from pictorch.reporting.chart import Point, Series, line_chart
from pictorch.reporting.records import Record, Records


def render_curves(records: Records) -> Markup:
    """Returns the curves of loss, accuracy, learning rate and gradient norm."""
    if not records.epochs and not records.steps:
        return missing("No training step is recorded yet.")
    steps, epochs = records.steps, records.epochs
    steps_per_unit = _steps_per_unit(records)
    best = records.best_epoch()

    def points(lines: list[Record], key: str) -> list[Point]:
        return [(line["step"] / steps_per_unit, line[key]) for line in lines if line.get(key) is not None]

    def finest(key: str) -> list[Point]:
        return max(points(steps, key), points(epochs, key), key=len)

    def chart(title: str, *series: Series, fractions: bool = False, mark: Record | None = None) -> Markup:
        if not any(one.points for one in series):
            return missing(f"{title}: not recorded before the first epoch ends.")
        return line_chart(
            title,
            series,
            x_label="epoch" if epochs else "step",
            x_end=max(1.0, max(line["step"] for line in epochs + steps) / steps_per_unit),
            y_text=_percent if fractions else _significant,
            from_zero=not fractions,
            mark=mark["step"] / steps_per_unit if mark else None,
        )

    return element(
        "div",
        chart(
            "Loss",
            Series("single steps", points(steps, "loss"), "faint"),
            Series("training", points(epochs, "train_loss")),
            Series("validation", points(epochs, "val_loss"), "second"),
            mark=best,
        ),
        chart(
            "Accuracy",
            Series("training", points(epochs, "train_accuracy")),
            Series("validation", points(epochs, "val_accuracy"), "second"),
            fractions=True,
            mark=best,
        ),
        chart("Learning rate", Series("learning rate", finest("lr"))),
        chart("Gradient norm", Series("gradient norm", finest("gradient_norm"))),
        class_="charts",
    )


def render_epochs(records: Records) -> Markup:
    """Returns a row for each epoch: losses, accuracies, seconds, images a second, memory."""
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
    heads = [
        "epoch",
        "training loss",
        "training accuracy",
        "validation loss",
        "validation accuracy",
        "seconds",
        "images/s",
        "peak memory",
    ]
    return table("Epochs", heads, rows, numeric=range(len(heads)))


def _steps_per_unit(records: Records) -> float:
    """Steps are shown as epochs as soon as a finished epoch says how many steps it has."""
    return records.epochs[-1]["step"] / len(records.epochs) if records.epochs else 1.0


def _significant(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{value * 100:.4g} %"


def _percent_or_dash(value: float | None) -> str:
    return "–" if value is None else formats.percent(value)
