"""Which classes are taken for which: the matrix, and the pairs that are confused most often."""

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, scroll_box, table
from pictorch.reporting.classes import images_of
from pictorch.reporting.pictures import matrix_picture
from pictorch.reporting.records import Records
from pictorch.run_folder import Evaluation

LARGEST_TABLE = 120
MANY = 30
MOST_PAIRS = 12


def render_confusion(records: Records) -> Markup:
    """Returns the confusion matrix and the most confused pairs, of test before validation."""
    found = [_confusion(one) for one in (records.test, records.val) if one]
    if not found:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    if len(found) == 1:
        return found[0]
    more = element("details", element("summary", "The same on the validation images"), found[1])
    return group(found[0], more)


def _confusion(evaluation: Evaluation) -> Markup:
    as_table = len(evaluation.per_class) <= LARGEST_TABLE
    return group(
        element(
            "p",
            f"{images_of(evaluation)}. A row holds the images of one true class, a column the answers "
            "of one name. Blue is the share that is right; orange one that is wrong, deepest where it is "
            "largest.",
        ),
        element(
            "div",
            _matrix(evaluation) if as_table else matrix_picture(evaluation.confusion),
            element("div", element("h3", "Most frequent confusions"), _pairs(evaluation)),
            class_="beside",
        ),
    )


def _matrix(evaluation: Evaluation) -> Markup:
    names = [score.name for score in evaluation.per_class]
    totals = [max(1, sum(row)) for row in evaluation.confusion]
    wrong = [
        count / totals[i]
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if i != j
    ]
    largest = max(wrong, default=0.0) or 1.0

    def cell(i: int, j: int) -> Markup:
        count = evaluation.confusion[i][j]
        if not count:
            return element("td", "·" if len(names) <= MANY else None)
        share = count / totals[i]
        return element(
            "td",
            element("span", count),
            element("span", f"{100 * share:.{1 if share < 0.0995 else 0}f}"),
            class_="right" if i == j else "wrong",
            style=f"--depth:{share if i == j else share / largest:.2f}",
        )

    head = element(
        "tr",
        element("th", "true ↓ answer →", scope="col"),
        *(element("th", element("bdi", name), scope="col") for name in names),
    )
    rows = (
        element(
            "tr",
            element("th", element("bdi", name), scope="row"),
            *(cell(i, j) for j in range(len(names))),
            data_n=sum(evaluation.confusion[i]),
        )
        for i, name in enumerate(names)
    )
    kind = (
        "confusion" + (" turned" if max(map(len, names)) > 3 else "") + (" many" if len(names) > MANY else "")
    )
    matrix = element("table", element("thead", head), element("tbody", *rows), class_=kind)
    box = scroll_box(f"Confusion matrix, {evaluation.split}", matrix)
    return element("div", _switch(evaluation.split), box, element("p", class_="said"), class_="matrix-view")


def _switch(split: str) -> Markup:
    """Counts or shares, by CSS alone; the script adds the orders that it can bring the classes into."""

    def choice(name: str, label: str, value: str, checked: bool) -> Markup:
        attributes = {"checked": ""} if checked else {}
        button = element("input", type="radio", name=f"{name}-{split}", value=value, **attributes)
        return element("label", button, label)

    orders = [("as stored", "stored"), ("by name", "name"), ("most confused first", "worst")]
    orders += [("best found first", "best")]
    return element(
        "div",
        element(
            "fieldset",
            element("legend", "Show"),
            choice("show", "counts", "counts", True),
            choice("show", "shares of the row, %", "shares", False),
        ),
        element(
            "fieldset",
            element("legend", "Order"),
            *(choice("order", label, value, value == "stored") for label, value in orders),
            class_="order",
            hidden="",
        ),
        class_="switch",
    )


def _pairs(evaluation: Evaluation) -> Markup:
    names = [score.name for score in evaluation.per_class]
    pairs = sorted(
        (-count, i, j)
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if count and i != j
    )
    if not pairs:
        return element("p", "There is none: every answer is right.")
    rows = [
        [
            element("bdi", names[i]),
            element("bdi", names[j]),
            formats.count(-count),
            formats.percent(-count / sum(evaluation.confusion[i]), 1),
        ]
        for count, i, j in pairs[:MOST_PAIRS]
    ]
    heads = ["true class", "answer", "images", "of the class"]
    return table(f"Most frequent confusions, {evaluation.split}", heads, rows, numeric=(2, 3))
