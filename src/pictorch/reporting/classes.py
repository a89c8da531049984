"""Which classes are found and which are taken for one another."""

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, scroll_box, table
from pictorch.reporting.pictures import matrix_picture
from pictorch.reporting.records import PARTS, Records
from pictorch.run_folder import Evaluation

LARGEST_TABLE = 40
MOST_PAIRS = 15


def render_confusion(records: Records) -> Markup:
    """Returns the confusion matrix and the pairs of classes that are confused most often."""
    evaluation = records.shown
    if evaluation is None:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    small = len(evaluation.per_class) <= LARGEST_TABLE
    return group(
        element(
            "p",
            f"{_images(evaluation)}. Rows are the true classes, columns the answers. Blue is the share of "
            "the row that is right, red a share that is wrong, scaled to the largest one.",
        ),
        _matrix(evaluation) if small else matrix_picture(evaluation.confusion),
        element("h3", "Most frequent confusions"),
        _pairs(evaluation),
    )


def render_class_table(records: Records) -> Markup:
    """Returns n, precision, recall, F1 and AUC of each class, and their means."""
    evaluation = records.shown
    if evaluation is None:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    rows = [
        [
            score.name,
            formats.count(score.n),
            *(formats.decimal(value) for value in (score.precision, score.recall, score.f1, score.auc)),
        ]
        for score in evaluation.per_class
    ]
    means = [formats.decimal(evaluation.macro[key]) for key in ("precision", "recall", "f1", "auc")]
    return group(
        element("p", f"{_images(evaluation)}. AUC is one class against the rest; – where it is not defined."),
        table(
            "Scores of each class",
            ["class", "n", "precision", "recall", "F1", "AUC"],
            rows,
            numeric=range(1, 6),
            foot=["mean of the classes", formats.count(evaluation.n), *means],
        ),
    )


def _images(evaluation: Evaluation) -> str:
    return f"{evaluation.n:,} {PARTS[evaluation.split]} images, checkpoint {evaluation.checkpoint}"


def _matrix(evaluation: Evaluation) -> Markup:
    names = [score.name for score in evaluation.per_class]
    shares = [[count / max(1, sum(row)) for count in row] for row in evaluation.confusion]
    wrong = [share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j]
    largest = max(wrong, default=0.0) or 1.0

    def cell(i: int, j: int) -> Markup:
        count = evaluation.confusion[i][j]
        depth = shares[i][j] if i == j else shares[i][j] / largest
        return element(
            "td",
            count if count else "·",
            class_="right" if i == j else "wrong",
            style=f"--depth:{depth:.3f}",
            title=f"{names[i]} called {names[j]}: {count:,} of {sum(evaluation.confusion[i]):,}",
        )

    turned = "long" if max(map(len, names)) > 3 else None
    head = element(
        "tr",
        element("th", "true ↓ answer →", scope="col"),
        *(element("th", element("span", name, class_=turned), scope="col") for name in names),
    )
    rows = (
        element("tr", element("th", name, scope="row"), *(cell(i, j) for j in range(len(names))))
        for i, name in enumerate(names)
    )
    return scroll_box(
        "Confusion matrix",
        element("table", element("thead", head), element("tbody", *rows), class_="confusion"),
    )


def _pairs(evaluation: Evaluation) -> Markup:
    names = [score.name for score in evaluation.per_class]
    pairs = sorted(
        (
            (-count, i, j)
            for i, row in enumerate(evaluation.confusion)
            for j, count in enumerate(row)
            if count and i != j
        )
    )
    if not pairs:
        return element("p", "There is none: every answer is right.")
    rows = [
        [names[i], names[j], formats.count(-count), formats.percent(-count / sum(evaluation.confusion[i]), 1)]
        for count, i, j in pairs[:MOST_PAIRS]
    ]
    heads = ["true class", "answer", "images", "of the class"]
    return table("Most frequent confusions", heads, rows, numeric=(2, 3))
