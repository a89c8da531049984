"""The command line: parses and prints; one thin function for each verb, imports inside it."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from pictorch.errors import MissingPartError, RecipeError, UserError

if TYPE_CHECKING:
    from pictorch.training.console import Console

AddVerb = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "sklearn": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "train",
    "onnxscript": "train",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error that a user can mend is one line."""
    given = sys.argv[1:] if arguments is None else arguments
    args = argparse.Namespace(json="--json" in given, debug="--debug" in given)
    try:
        args = _parser().parse_args(given)
        args.verb(args)
        sys.stdout.flush()
    except UserError as error:
        return _fail(args, str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return _fail(args, "stopped by SIGINT before anything needed saving", 130, error)
    except MemoryError as error:
        return _fail(args, "out of memory; make train.batch_size or data.image_size smaller", 5, error)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            return _fail(args, f"internal error: {error}", 1, error)
        missing = MissingPartError(extra, error.name or "")
        return _fail(args, str(missing), missing.exit_code, error)
    except BrokenPipeError:
        # The reader of our output left; what is left to flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(args, f"{error}; check the disk, its rights and its free space", 5, error)
    except Exception as error:
        kind = type(error).__name__
        return _fail(args, f"internal error: {kind}: {error}; --debug shows where it arose", 1, error)
    return 0


def _train(args: argparse.Namespace) -> None:
    from pictorch.run_folder import RunFolder
    from pictorch.training.start import train

    result = train(
        args.recipe,
        data=args.data,
        out=args.out,
        set=args.set,
        seed=args.seed,
        device=args.device,
        epochs=args.epochs,
        resume=args.resume,
        console=_console(args),
    )
    if args.json:
        return _print_json(result.to_json())
    if result.best_val_accuracy is not None:
        judged = f"validation accuracy {result.best_val_accuracy:.2%} in epoch {result.best_epoch}"
    else:
        judged = f"training accuracy {result.train_accuracy:.2%}, nothing was validated"
    early = ", stopped early" if result.stopped_early else ""
    print(f"trained to epoch {result.epochs}{early}: {judged}; kept in {result.run}")
    split = " --split test" if RunFolder.open(result.run).data()["counts"]["test"] else ""
    program = _program()
    print(f"next:  {program} evaluate {result.run}{split}\n       {program} export {result.run}")
    return None


def _evaluate(args: argparse.Namespace) -> None:
    from pictorch.evaluation.evaluate import evaluate

    result = evaluate(
        args.source,
        split=args.split,
        checkpoint=args.checkpoint,
        data=args.data,
        out=args.out,
        console=_console(args),
    )
    if args.json:
        return _print_json(result.to_json())
    return _print_evaluation(result)


def _export(args: argparse.Namespace) -> None:
    from pictorch.exporting.export import export

    bundle = export(
        args.run, checkpoint=args.checkpoint, out=args.out, data=args.data, console=_console(args)
    )
    if args.json:
        return _print_json(bundle.to_json())
    print(f"exported {bundle.path}: {len(bundle.class_names)} classes, verified against PyTorch")
    program = _program()
    print(f"next:  {program} verify {bundle.path}\n       {program} predict {bundle.path} IMAGE...")
    return None


def _verify(args: argparse.Namespace) -> None:
    from pictorch.predictor import verify

    result = verify(args.bundle)
    if args.json:
        return _print_json(result.to_json())
    print(
        f"{args.bundle} is whole and answers as it did when it was made "
        f"({result.golden_n} golden samples, largest difference {result.largest_difference:.1e})"
    )
    return None


def _predict(args: argparse.Namespace) -> None:
    from pictorch.predictor import predict

    predictions = predict(args.source, args.images, top=args.top)
    if args.json:
        return _print_json({"predictions": [prediction.to_json() for prediction in predictions]})
    for prediction in predictions:
        answers = "  ".join(f"{name} {probability:.2%}" for name, probability in prediction.classes)
        print(f"{prediction.source}: {answers}")
    return None


def _report(args: argparse.Namespace) -> None:
    from pictorch.reporting.report import report

    path = report(args.run)
    if args.json:
        return _print_json({"report": str(path)})
    print(f"report written: {path}")
    return None


def _recipes(args: argparse.Namespace) -> None:
    from pictorch.recipe_files import recipe_header, recipes

    rows = recipes(args.name)
    if args.json:
        return _print_json({"recipe" if args.name else "recipes": rows})
    if args.name is None:
        for row in rows:
            print(f"{row['name']:<22} {row['header'].splitlines()[0] if row['header'] else ''}")
        return None
    header = recipe_header(args.name)
    if header:
        print(f"{header}\n")
    for row in rows:
        changed = "*" if row["changed"] else " "
        print(f"{changed} {row['path']} = {_plain(row['value'])}")
        print(f"      {row['description']} (default: {_plain(row['default'])})")
    print("\n* differs from the default; change any field with --set section.key=value")
    return None


def _models(args: argparse.Namespace) -> None:
    from pictorch.networks.summary import models

    summaries = models(args.name, num_classes=args.num_classes, image_size=args.image_size)
    if args.json:
        return _print_json({"models": summaries})
    if args.name is None:
        for row in summaries:
            print(
                f"{row['name']:<16} {row['parameters']:>12,} parameters "
                f"{row['multiply_adds'] / 1e6:>10,.1f} M multiply-adds"
            )
        return None
    from rich.table import Table

    table = Table("layer", "kind", "output", box=None)
    for title in ("parameters", "multiply-adds"):
        table.add_column(title, justify="right")
    for layer in summaries[0]["layers"]:
        shape = "x".join(map(str, layer["output_shape"]))
        numbers = (f"{layer['parameters']:,}", f"{layer['multiply_adds']:,}")
        table.add_row(layer["name"], layer["kind"], shape, *numbers)
    totals = (f"{summaries[0]['parameters']:,}", f"{summaries[0]['multiply_adds']:,}")
    table.add_row("total", "", "", *totals, style="bold")
    return _print_table(table)


def _demo(args: argparse.Namespace) -> None:
    from pictorch.demo import demo

    result = demo(out=args.out, console=_console(args))
    if args.json:
        return _print_json(result.to_json())
    _print_evaluation(result.evaluation)
    print()
    for prediction, label in zip(result.predictions, result.labels, strict=True):
        print(f"a test image of a {label} is called {prediction.name} ({prediction.probability:.1%})")
    print(f"\nrun     {result.run}\nbundle  {result.bundle}\nreport  {result.report}")
    program = _program()
    print(
        "\nnext:\n"
        f"  {program} verify {result.bundle}    the exported file proves itself\n"
        f"  {program} recipes                          what else can be trained\n"
        f"  {program} train cifar10-simple-net         the same on CIFAR-10"
    )
    return None


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    shared.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    shared.add_argument("-v", "--verbose", action="store_true", help="show a line at every record")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = _Parser(
        prog="pictorch",
        description="Trains, judges and ships image classifiers.",
        epilog="First steps: pictorch demo, then pictorch train cifar10-cnn.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, parents=[shared], help=text, description=text)
        added.set_defaults(verb=function)
        return added

    _add_training(verb)
    _add_judging(verb)
    _add_looking(verb)
    return parser


def _add_training(verb: AddVerb) -> None:
    demo = verb("demo", _demo, "train, evaluate, export and predict handwritten digits in a minute")
    demo.add_argument("--out", metavar="DIR", help="run folder (default: runs/digits-NNN)")

    train = verb("train", _train, "train a recipe, or go on with a run")
    train.add_argument("recipe", nargs="?", metavar="RECIPE", help="packaged name or .yaml file")
    train.add_argument("--data", metavar="SOURCE", help="name or path of the images")
    train.add_argument("--out", metavar="DIR", help="run folder (default: runs/RECIPE-NNN)")
    train.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a recipe field"
    )
    train.add_argument("--seed", type=int, metavar="N", help="train.seed")
    train.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help="train.device")
    train.add_argument("--epochs", type=int, metavar="N", help="epochs; with --resume the new total")
    train.add_argument("--resume", metavar="RUN", help="go on with this run")


def _add_judging(verb: AddVerb) -> None:
    evaluate = verb("evaluate", _evaluate, "judge a run or a bundle")
    evaluate.add_argument("source", metavar="RUN|BUNDLE")
    evaluate.add_argument("--split", default="val", help="val (default) or test, whose openings are counted")
    evaluate.add_argument(
        "--checkpoint", metavar="NAME", help="best, last or epoch-N (default: best, else last)"
    )
    evaluate.add_argument("--data", metavar="SOURCE", help="where the images lie now")
    evaluate.add_argument("--out", metavar="DIR", help="where a bundle's evaluation goes")

    export = verb("export", _export, "write the bundle of a run")
    export.add_argument("run", metavar="RUN")
    export.add_argument(
        "--checkpoint", metavar="NAME", help="best, last or epoch-N (default: best, else last)"
    )
    export.add_argument("--out", metavar="DIR|FILE.zip", help="default: RUN/bundle")
    export.add_argument("--data", metavar="SOURCE", help="where the run's images lie now")

    verify = verb("verify", _verify, "check a bundle's hashes and replay its golden samples")
    verify.add_argument("bundle", metavar="BUNDLE")

    predict = verb("predict", _predict, "name what is in images")
    predict.add_argument("source", metavar="RUN|BUNDLE")
    predict.add_argument("images", nargs="+", metavar="IMAGE")
    predict.add_argument("--top", type=int, default=5, metavar="K", help="classes to show (default 5)")

    report = verb("report", _report, "write the run's report as one HTML file")
    report.add_argument("run", metavar="RUN")


def _add_looking(verb: AddVerb) -> None:
    recipes = verb("recipes", _recipes, "list the packaged recipes, or explain one")
    recipes.add_argument("name", nargs="?", metavar="NAME")

    models = verb("models", _models, "list the networks, or show one layer by layer")
    models.add_argument("name", nargs="?", metavar="NAME")
    models.add_argument("--num-classes", type=int, default=10, metavar="N")
    models.add_argument("--image-size", type=int, default=32, metavar="PIXELS")


class _Parser(argparse.ArgumentParser):
    """Argparse, whose own errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises RecipeError with what is wrong and where to look it up."""
        raise RecipeError(f"{message}; see {self.prog} --help")


def _program() -> str:
    """Returns how the user calls pictorch: by name, or by path where it is not on the PATH."""
    return "pictorch" if shutil.which("pictorch") else os.path.relpath(sys.argv[0])


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for, since that reads the disk."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any, **also_unused: Any) -> None:
        from importlib.metadata import version

        print(version("pictorch"))
        parser.exit()


def _console(args: argparse.Namespace) -> "Console":
    from pictorch.training.console import Console

    return Console("quiet" if args.quiet else "verbose" if args.verbose else "normal")


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(table)


def _print_evaluation(result: Any) -> None:
    from rich.table import Table

    low, high = result.accuracy_interval
    print(
        f"{result.split} accuracy {result.accuracy:.2%}  (n = {result.n:,}, 95 % interval {low:.2%} to "
        f"{high:.2%})  loss {result.loss:.4f}  checkpoint {result.checkpoint}"
    )
    if result.split == "test" and result.step is not None:
        print(f"openings of this run's test set so far: {result.test_openings}")
    table = Table("class", box=None)
    for title in ("n", "precision", "recall", "F1", "AUC"):
        table.add_column(title, justify="right")
    for row in result.per_class:
        auc = "" if row.auc is None else f"{row.auc:.4f}"
        table.add_row(
            row.name, f"{row.n:,}", f"{row.precision:.2%}", f"{row.recall:.2%}", f"{row.f1:.2%}", auc
        )
    _print_table(table)


def _plain(value: Any) -> str:
    """Shows a value as it is written in a recipe."""
    return "required" if value == "required" else json.dumps(value, ensure_ascii=False)


def _fail(args: argparse.Namespace, message: str, exit_code: int, error: BaseException) -> int:
    if args.debug:
        import traceback

        traceback.print_exception(error)
    for line in message.splitlines():
        print(f"pictorch: {line}", file=sys.stderr)
    if args.json:
        _print_json({"error": message, "exit_code": exit_code})
    return exit_code
