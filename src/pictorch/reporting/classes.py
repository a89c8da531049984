"""The scores of each class, and their way over the epochs."""

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, table
from pictorch.reporting.bars import span
from pictorch.reporting.learning import render_class_curves
from pictorch.reporting.records import PARTS, Records
from pictorch.run_folder import Evaluation


def render_classes(records: Records) -> Markup:
    """Returns n, precision, recall, F1 and AUC of each class, their means, and the curves."""
    tables = [_scores(one) for one in (records.test, records.val) if one]
    if not tables:
        tables = [missing("Nothing has been evaluated yet.", records.evaluate_command)]
    return group(
        tables[0],
        render_class_curves(records),
        element("details", element("summary", "The same scores on the validation images"), tables[1])
        if len(tables) > 1
        else None,
    )


def images_of(evaluation: Evaluation) -> str:
    """Returns what an evaluation looked at, as '10,000 test images, checkpoint best'."""
    return f"{evaluation.n:,} {PARTS[evaluation.split]} images, checkpoint {evaluation.checkpoint}"


def _scores(evaluation: Evaluation) -> Markup:
    lowest = min(min(score.precision, score.recall) for score in evaluation.per_class)
    low = min(0.9, int(lowest * 10) / 10)
    rows = [
        [
            element("bdi", score.name),
            formats.count(score.n),
            *(formats.decimal(value) for value in (score.precision, score.recall, score.f1, score.auc)),
            span(low, score.precision, score.recall),
        ]
        for score in evaluation.per_class
    ]
    means = [formats.decimal(evaluation.macro[key]) for key in ("precision", "recall", "f1", "auc")]
    scale_name = group(
        element("span", class_="ring"), "precision ", element("span", class_="dot"), f"recall, {low:g} to 1"
    )
    return group(
        element(
            "p",
            f"{images_of(evaluation)}. Precision: how many of the answers with this name are right. "
            "Recall: how many of the class's images are found. F1: their harmonic mean. "
            "AUC: one class against the rest; – where it is not defined.",
        ),
        table(
            f"Scores of each class, {PARTS[evaluation.split]}",
            ["class", "n", "precision", "recall", "F1", "AUC", scale_name],
            rows,
            numeric=range(1, 6),
            foot=["mean", formats.count(evaluation.n), *means, ""],
            sortable=True,
        ),
    )
