"""The command that names what is in images, and the three forms in which it writes a row for each."""

import argparse
import csv
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pictorch.cli.judging import add_views
from pictorch.cli.output import print_json
from pictorch.cli.parser import AddVerb
from pictorch.errors import RecipeError, StoppedError

if TYPE_CHECKING:
    from pictorch.predictor import Prediction
    from pictorch.predictor.image_inputs import Refusal
    from pictorch.predictor.prediction_file import PredictionFile

    WriteRow = Callable[[Prediction | Refusal], None]


def add(verb: AddVerb) -> None:
    """Adds predict."""
    predict = verb("predict", _predict, "name what is in images")
    predict.add_argument("source", metavar="RUN|BUNDLE")
    predict.add_argument(
        "images", nargs="+", metavar="PATH", help="files, folders, patterns as 'a/**/*.jpg', lists of paths"
    )
    predict.add_argument("--top", type=int, default=5, metavar="K", help="classes to show (default 5)")
    rows = predict.add_mutually_exclusive_group()
    rows.add_argument("--jsonl", action="store_true", help="print a JSON object in a line for each image")
    rows.add_argument("--csv", action="store_true", help="print a row of comma-separated values for each")
    predict.add_argument("--shard", metavar="I/N", help="answer every N-th image, beginning with the I-th")
    predict.add_argument(
        "--out", metavar="FILE", help="write .csv, .jsonl or .parquet; what was stopped goes on when repeated"
    )
    add_views(predict)


def _predict(args: argparse.Namespace) -> None:
    from pictorch.predictor import Predictions, load, predict
    from pictorch.predictor.image_inputs import Refusal

    options = {"top": args.top, "views": args.views, "views_below": args.views_below, "shard": args.shard}
    if args.out and (args.jsonl or args.csv):
        raise RecipeError(f"the name {args.out} says how its rows are written; leave out --jsonl and --csv")
    if args.json and (args.jsonl or args.csv):
        raise RecipeError("--json is one object for all images; give it alone, or only --jsonl or --csv")
    if args.json or args.out:
        progress = _tell if args.out and not args.quiet else _keep_quiet
        try:
            result = predict(args.source, args.images, **options, out=args.out, progress=progress)
        except KeyboardInterrupt:
            if not args.out:
                raise
            raise StoppedError(
                f"stopped by SIGINT; what is answered is kept beside {args.out}, and the same command "
                "goes on behind it",
                signal.SIGINT,
            ) from None
        if args.json:
            print_json(result.to_json())
        if isinstance(result, Predictions):
            return _tell_refused(args, len(result.refused), len(result.refused) + len(result))
        return _tell_written(args, result)
    predictor = load(args.source)
    write = _jsonl if args.jsonl else _csv(args.top, predictor.bundle.class_names) if args.csv else _text
    refused = images = 0
    for images, answer in enumerate(predictor.stream(args.images, **options), 1):  # noqa: B007
        write(answer)
        sys.stdout.flush()
        refused += isinstance(answer, Refusal)
    return _tell_refused(args, refused, images)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _keep_quiet(line: str) -> None:
    """Takes a line that nobody wants to read."""


def _tell_written(args: argparse.Namespace, result: "PredictionFile") -> None:
    """A row without an answer is no failure here: it stands in the file, for whoever reads that."""
    if not args.json:
        print(f"{result.path}: {result.rows:,} rows, {result.refused:,} of them without an answer")


def _tell_refused(args: argparse.Namespace, refused: int, images: int) -> None:
    if refused:
        args.exit_code = 3
        print(f"pictorch: {refused:,} of {images:,} images have no answer", file=sys.stderr)


def _text(answer: "Prediction | Refusal") -> None:
    from pictorch.images import shown
    from pictorch.predictor.image_inputs import Refusal

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
    from pictorch.predictor.prediction_rows import cells, head, plain_name

    columns = min(top, len(class_names))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head(columns))

    def write(answer: "Prediction | Refusal") -> None:
        record = answer.to_json()
        writer.writerow(cells({**record, "source": plain_name(record["source"])}, columns))

    return write
