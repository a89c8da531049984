"""The top of the page: what the run is, its numbers, and what has not been made yet."""

from statistics import median

from pictorch import formats
from pictorch.markup import Markup, element, group, missing
from pictorch.metrics.interval import wilson_interval
from pictorch.reporting.records import PARTS, Record, Records
from pictorch.run_folder import Evaluation


def title(records: Records) -> str:
    """Returns recipe, data and network in one line."""
    recipe = records.recipe
    return f"{recipe.name} · {recipe.data.source} · {recipe.model.name}"


def render_head(records: Records) -> Markup:
    """Returns the title with a line about data and network."""
    images = [
        f"{formats.count(records.num_images(split))} {name}"
        for split, name in PARTS.items()
        if records.num_images(split)
    ]
    network = records.facts.get("network", {})
    facts = [
        f"{len(records.class_names)} classes" if records.class_names else None,
        f"{', '.join(images)} images" if images else None,
        f"{network['parameters']:,} parameters" if "parameters" in network else None,
        f"{formats.short_count(network['multiply_adds'])} multiply-adds an image"
        if "multiply_adds" in network
        else None,
    ]
    return element(
        "header",
        element("h1", title(records)),
        element("p", " · ".join(fact for fact in facts if fact), class_="facts"),
    )


def render_headline(records: Records) -> Markup:
    """Returns the headline numbers and, below, what is missing."""
    return group(
        element(
            "dl",
            *_accuracies(records),
            *_scores(records),
            _test_openings(records),
            *_training(records),
            class_="numbers",
        ),
        *_missing(records),
    )


def _number(name: str, value: str, note: str = "", *, main: bool = False) -> Markup:
    return element(
        "div",
        element("dt", name),
        element("dd", element("span", value, class_="value"), element("span", note, class_="note")),
        class_="main" if main else None,
    )


def _accuracies(records: Records) -> list[Markup]:
    """The test's figure leads where there is one; the validation's stands beside or in its place."""
    numbers = []
    if records.test:
        numbers.append(_evaluated("Test accuracy", records.test, main=True))
    best = records.best_epoch() or next(
        (epoch for epoch in reversed(records.epochs) if epoch.get("val_accuracy") is not None), None
    )
    if records.val:
        numbers.append(_evaluated("Validation accuracy", records.val, main=not records.test))
    elif best:
        numbers.append(_validated(records, best, main=not records.test))
    return numbers


def _evaluated(name: str, evaluation: Evaluation, *, main: bool) -> Markup:
    interval = formats.percent_range(*evaluation.accuracy_interval)
    note = f"95 % interval {interval} · n = {evaluation.n:,} · checkpoint {evaluation.checkpoint}"
    return _number(name, formats.percent(evaluation.accuracy), note, main=main)


def _validated(records: Records, epoch: Record, *, main: bool) -> Markup:
    """Training's own validation; its images chose the epoch, so it flatters a little."""
    n, accuracy = records.num_images("val"), epoch["val_accuracy"]
    rank = "best" if epoch.get("best") else "last"
    parts = [f"epoch {epoch['epoch']}, the {rank} of {len(records.epochs)}"]
    if n:
        interval = formats.percent_range(*wilson_interval(round(accuracy * n), n))
        parts = [f"95 % interval {interval}", f"n = {n:,}", *parts]
    return _number("Validation accuracy", formats.percent(accuracy), " · ".join(parts), main=main)


def _scores(records: Records) -> list[Markup]:
    evaluation = records.shown
    if evaluation is None:
        return []
    auc = evaluation.macro["auc"]
    part = PARTS[evaluation.split]
    return [
        _number("Loss", formats.decimal(evaluation.loss), f"{part}, mean cross-entropy"),
        *(
            [_number("Top-5 accuracy", formats.percent(evaluation.top5), part)]
            if evaluation.top5 is not None
            else []
        ),
        _number(
            "F1",
            formats.decimal(evaluation.macro["f1"]),
            f"{part}, mean of the classes" + (f" · AUC {auc:.4f}" if auc is not None else ""),
        ),
    ]


def _test_openings(records: Records) -> Markup | None:
    openings = records.data.get("test_openings", 0)
    if records.num_images("test") == 0:
        return None
    note = "choices made after the first time make its figure too good" if openings > 1 else ""
    times = {0: "never", 1: "once"}.get(openings, f"{openings} times")
    return _number("Test set opened", times, note)


def _training(records: Records) -> list[Markup]:
    done, planned = len(records.epochs), records.num_epochs_planned
    stopped_early = done < planned and records.facts.get("finished_epoch") is not None
    numbers = [_number("Epochs", f"{done} of {planned}", "stopped early" if stopped_early else "")]
    if records.epoch_timing:
        seconds = sum(line["seconds"] for line in records.epoch_timing)
        speed = median(line["images_per_second"] for line in records.epoch_timing)
        device = records.environment.get("device_name") or records.environment.get("device", "")
        note = f"{formats.count(speed)} images/s, median epoch" + (f" · {device}" if device else "")
        numbers.append(_number("Training time", formats.duration(seconds), note))
    return numbers


def _missing(records: Records) -> list[Markup]:
    lines = []
    if records.facts.get("finished_epoch") is None:
        lines.append(missing("Training is not finished.", records.command("train --resume")))
    if records.test is None:
        if records.num_images("test") == 0:
            lines.append(missing("This data has no test part, so there is no test figure."))
        else:
            command = records.command("evaluate", "--split", "test")
            lines.append(missing("The test part has not been evaluated.", command))
    if records.val is None and records.num_images("val") == 0:
        lines.append(missing("Nothing validates this run: it trains on all training images."))
    return lines
