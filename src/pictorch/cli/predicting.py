"""The command that names what is in images, and the three forms in which it writes a row for each."""

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pictorch.cli.judging import add_views
from pictorch.cli.output import print_json
from pictorch.cli.parser import AddVerb
from pictorch.errors import RecipeError

if TYPE_CHECKING:
    from pictorch.image_inputs import Refusal
    from pictorch.predictor import Prediction

    WriteRow = Callable[[Prediction | Refusal], None]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes the beginning of a formula for


def add(verb: AddVerb) -> None:
    """Adds predict."""
    predict = verb("predict", _predict, "name what is in images")
    predict.add_argument("source", metavar="RUN|BUNDLE")
    predict.add_argument(
        "images", nargs="+", metavar="PATH", help="files, folders with all in them, patterns as 'a/**/*.jpg'"
    )
    predict.add_argument("--top", type=int, default=5, metavar="K", help="classes to show (default 5)")
    rows = predict.add_mutually_exclusive_group()
    rows.add_argument("--jsonl", action="store_true", help="print a JSON object in a line for each image")
    rows.add_argument("--csv", action="store_true", help="print a row of comma-separated values for each")
    add_views(predict)


def _predict(args: argparse.Namespace) -> None:
    from pictorch.image_inputs import Refusal
    from pictorch.predictor import load, predict

    options = {"top": args.top, "views": args.views, "views_below": args.views_below}
    if args.json:
        if args.jsonl or args.csv:
            raise RecipeError("--json is one object for all images; give it alone, or only --jsonl or --csv")
        predictions = predict(args.source, args.images, **options)
        print_json(predictions.to_json())
        refused = len(predictions.refused)
        return _tell_refused(args, refused, refused + len(predictions))
    predictor = load(args.source)
    write = _jsonl if args.jsonl else _csv(args.top, predictor.bundle.class_names) if args.csv else _text
    refused = images = 0
    for images, answer in enumerate(predictor.stream(args.images, **options), 1):  # noqa: B007
        write(answer)
        sys.stdout.flush()
        refused += isinstance(answer, Refusal)
    return _tell_refused(args, refused, images)


def _tell_refused(args: argparse.Namespace, refused: int, images: int) -> None:
    if refused:
        args.exit_code = 3
        print(f"pictorch: {refused:,} of {images:,} images have no answer", file=sys.stderr)


def _text(answer: "Prediction | Refusal") -> None:
    from pictorch.image_inputs import Refusal
    from pictorch.images import shown

    if isinstance(answer, Refusal):
        print(f"pictorch: {answer.error}", file=sys.stderr)
    else:
        classes = "  ".join(f"{shown(name)} {probability:.2%}" for name, probability in answer.classes)
        print(f"{shown(answer.source)}: {classes}")


def _jsonl(answer: "Prediction | Refusal") -> None:
    print_json(answer.to_json())


def _csv(top: int, class_names: Sequence[str]) -> "WriteRow":
    """Prints the head of the table and returns what prints a row.

    A relative path that a spreadsheet would take for a formula is written with ./ before it.
    """
    from pictorch.image_inputs import Refusal

    numbers = range(1, min(top, len(class_names)) + 1)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    pairs = [name for n in numbers for name in (f"class_{n}", f"probability_{n}")]
    writer.writerow(["source", *pairs, "error"])

    def write(answer: "Prediction | Refusal") -> None:
        source = f"./{answer.source}" if answer.source.startswith(_FORMULAS) else answer.source
        if isinstance(answer, Refusal):
            writer.writerow([source, *[""] * len(pairs), answer.error])
        else:
            writer.writerow([source, *(value for pair in answer.classes for value in pair), ""])

    return write
