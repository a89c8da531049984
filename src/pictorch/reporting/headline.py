"""The top of the page: what the run is worth, how that was measured, and what has not been made yet."""

from statistics import median

from pictorch import formats
from pictorch.markup import Markup, element, group, missing
from pictorch.metrics.interval import wilson_interval
from pictorch.reporting.bars import scale
from pictorch.reporting.pictures import render_telling
from pictorch.reporting.records import PARTS, Records
from pictorch.run_folder import ClassScore, Evaluation
from pictorch.views import ViewScores

MOST_CLASSES = 6


def title(records: Records) -> str:
    """Returns recipe, data and network in one line."""
    recipe = records.recipe
    return f"{recipe.name} · {recipe.data.training_source} · {recipe.model.name}"


def render_headline(records: Records) -> Markup:
    """Returns the figure with its interval, its story, three pictures, what is missing, and the facts."""
    return group(
        _head(records),
        element("div", _figure(records), _best_and_worst(records), class_="hero"),
        render_telling(records),
        element("div", *_missing(records), class_="todo"),
        element("dl", *_scores(records), *_training(records), class_="numbers"),
    )


def _head(records: Records) -> Markup:
    recipe, num_classes = records.recipe, len(records.class_names)
    images = [
        f"{formats.count(records.num_images(split))} {name}"
        for split, name in PARTS.items()
        if records.num_images(split)
    ]
    facts = [
        f"{recipe.model.name} on {recipe.data.training_source}",
        f"{num_classes} classes" if num_classes else None,
        f"{', '.join(images)} images" if images else None,
    ]
    return element(
        "header",
        element("h1", element("bdi", recipe.name)),
        element("p", " · ".join(fact for fact in facts if fact), class_="facts"),
    )


def _figure(records: Records) -> Markup:
    """The test's figure leads where there is one; the validation's stands below or in its place."""
    rows = [(f"{PARTS[one.split].capitalize()} accuracy", one) for one in (records.test, records.val) if one]
    if not rows:
        return element("div", *_validated(records))
    parts: list[Markup] = []
    for place, (name, one) in enumerate(rows):
        baseline = max(map(sum, one.confusion)) / one.n if place == 0 else None
        interval = f"95 % interval {formats.percent_range(*one.accuracy_interval)}"
        parts += [
            _big(name, one.accuracy, f"{interval}, n = {one.n:,}", main=place == 0),
            scale(name, one.accuracy, one.accuracy_interval, baseline=baseline),
        ]
        if one.views:
            parts.append(element("p", _with_views(one.views), class_="measured"))
        if place == 0:
            parts.append(element("p", _measured(records, one), class_="measured"))
    return element("div", *parts)


def _with_views(scores: ViewScores) -> str:
    interval = formats.percent_range(*scores.accuracy_interval)
    return (
        f"{formats.percent(scores.accuracy)} (95 % interval {interval}) of the same images with the "
        f"answers to several views averaged: {scores.in_words()}."
    )


def _big(name: str, fraction: float, note: str, *, main: bool = True) -> Markup:
    number, unit = formats.percent(fraction).split(" ")
    return element(
        "p",
        element("span", name, class_="label"),
        element("span", f"{number} ", element("small", unit), class_="value"),
        element("span", note, class_="note"),
        class_="big" if main else "big lesser",
    )


def _validated(records: Records) -> list[Markup]:
    """Training's own validation, where nothing has been evaluated."""
    best = records.best_epoch() or next(
        (epoch for epoch in reversed(records.epochs) if epoch.get("val_accuracy") is not None), None
    )
    if best is None:
        return [element("p", "Nothing has been measured yet.", class_="measured")]
    n, accuracy = records.num_images("val"), best["val_accuracy"]
    rank = "best" if best.get("best") else "last"
    epoch = f"epoch {best['epoch']}, the {rank} of {len(records.epochs)}"
    story = f"Measured by the training itself after {epoch}. These images chose the epoch, so it flatters."
    if not n:
        return [_big("Validation accuracy", accuracy, ""), element("p", story, class_="measured")]
    interval = wilson_interval(round(accuracy * n), n)
    return [
        _big("Validation accuracy", accuracy, f"95 % interval {formats.percent_range(*interval)}, n = {n:,}"),
        scale("Validation accuracy", accuracy, interval),
        element("p", story, class_="measured"),
    ]


def _measured(records: Records, shown: Evaluation) -> str:
    """Says in plain words what the figure rests on."""
    epoch = next((line["epoch"] for line in records.epochs if line["step"] == shown.step), None)
    place = f" (epoch {epoch} of {len(records.epochs)})" if epoch else ""
    checkpoint = f"The checkpoint, {shown.checkpoint}{place},"
    num_val = records.num_images("val")
    if shown.split == "val":
        chosen = f"{checkpoint} was chosen on the same images, so the figure flatters a little."
        return f"Measured on {shown.n:,} validation images, which training never saw. {chosen}"
    if not num_val:
        chosen = f"{checkpoint} was chosen by no image: all training images were trained on."
    elif shown.checkpoint == "best":
        chosen = f"{checkpoint} was chosen on {num_val:,} other, validation images."
    else:
        chosen = f"{checkpoint} was named, not chosen."
    return (
        f"Measured on {shown.n:,} test images that were used neither for training nor for choosing. "
        f"{chosen} {_openings(records)}"
    )


def _openings(records: Records) -> str:
    openings = records.data.get("test_openings", 0)
    if openings > 1:
        return f"The test set was opened {openings} times; choices made after the first flatter the figure."
    return "The test set was opened once." if openings else ""


def _best_and_worst(records: Records) -> Markup | None:
    evaluation = records.shown
    if evaluation is None:
        return None
    order = sorted((one for one in evaluation.per_class if one.n), key=lambda one: -one.recall)
    if len(order) <= MOST_CLASSES:
        lists = [("Classes, the best found first", order)]
    else:
        half = MOST_CLASSES // 2
        lists = [("Best found", order[:half]), ("Least found", order[-half:])]
    return element("div", *(_class_list(name, scores) for name, scores in lists), class_="bests")


def _class_list(name: str, scores: list[ClassScore]) -> Markup:
    rows = (
        element(
            "li",
            element("bdi", one.name),
            element("b", formats.percent(one.recall, 1)),
            scale(one.name, one.recall, wilson_interval(round(one.recall * one.n), one.n)),
        )
        for one in scores
    )
    return group(element("h2", name), element("ul", *rows))


def _number(name: str, value: str, note: str = "") -> Markup:
    value_and_note = (element("span", value, class_="value"), element("span", note, class_="note"))
    return element("div", element("dt", name), element("dd", *value_and_note))


def _scores(records: Records) -> list[Markup]:
    evaluation = records.shown
    if evaluation is None:
        return []
    auc, part = evaluation.macro["auc"], PARTS[evaluation.split]
    numbers = [_number("Loss", formats.decimal(evaluation.loss), f"{part}, mean cross-entropy")]
    if evaluation.top5 is not None:
        numbers.append(_number("Top-5 accuracy", formats.percent(evaluation.top5), part))
    note = f"{part}, mean of the classes" + (f", AUC {auc:.4f}" if auc is not None else "")
    return [*numbers, _number("F1", formats.decimal(evaluation.macro["f1"]), note)]


def _training(records: Records) -> list[Markup]:
    done, planned, network = len(records.epochs), records.num_epochs_planned, records.facts.get("network", {})
    stopped_early = done < planned and records.facts.get("finished_epoch") is not None
    numbers = [_number("Epochs", f"{done} of {planned}", "stopped early" if stopped_early else "")]
    if records.epoch_timing:
        seconds = sum(line["seconds"] for line in records.epoch_timing)
        speed = median(line["images_per_second"] for line in records.epoch_timing)
        device = records.environment.get("device_name") or records.environment.get("device", "")
        note = f"{formats.count(speed)} images/s, median epoch" + (f" · {device}" if device else "")
        numbers.append(_number("Training time", formats.duration(seconds), note))
    if network:
        note = f"{formats.short_count(network['multiply_adds'])} multiply-adds an image"
        numbers.append(_number("Parameters", formats.short_count(network["parameters"]), note))
    if records.num_images("test") != 0:
        openings = records.data.get("test_openings", 0)
        times = {0: "never", 1: "once"}.get(openings, f"{openings} times")
        numbers.append(_number("Test set opened", times))
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
    shown, best = records.shown, records.best_epoch()
    newest = best if shown and shown.checkpoint == "best" else records.epochs[-1] if records.epochs else None
    if shown and newest and shown.checkpoint in ("best", "last") and (shown.step or 0) < newest["step"]:
        command = records.command("evaluate", "--split", shown.split)
        lines.append(
            missing(f"Training went on: its {shown.checkpoint} is newer than what is judged.", command)
        )
    if records.val is None and records.num_images("val") == 0:
        lines.append(missing("Nothing validates this run: it trains on all training images."))
    return lines
