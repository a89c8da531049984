"""The commands that make a run: demo, train and convert."""

import argparse
import shlex

from pictorch.cli.output import console_of, print_evaluation, print_json, print_next
from pictorch.cli.parser import AddVerb
from pictorch.host import is_first_process


def add(verb: AddVerb) -> None:
    """Adds demo, train and convert."""
    demo = verb("demo", _demo, "train, evaluate, export, predict handwritten digits in a minute")
    demo.add_argument("--out", metavar="DIR", help="run folder (default: runs/digits-NNN)")

    train = verb("train", _train, "train a recipe, or go on with a run")
    train.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a name that `pictorch recipes` lists, or a .yaml file"
    )
    train.add_argument("--data", metavar="SOURCE", help="images: cifar10, digits, or a path (data.source)")
    train.add_argument("--out", metavar="DIR", help="run folder (default: runs/RECIPE-NNN)")
    train.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a field of the recipe"
    )
    train.add_argument("--seed", type=int, metavar="N", help="seed of every random draw (train.seed)")
    train.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), help="where to train (train.device)"
    )
    train.add_argument(
        "--epochs",
        type=float,
        metavar="N",
        help="passes over the images (train.epochs); with --resume the new total",
    )
    train.add_argument(
        "--resume", metavar="RUN", help="go on with this run; with RECIPE begin it there where there is none"
    )
    train.set_defaults(takes_group=True)

    convert = verb("convert", _convert, "make a run of weights trained elsewhere")
    convert.add_argument("file", metavar="FILE", help="a .pth or .safetensors file, a run or a bundle")
    convert.add_argument("--model", required=True, metavar="NAME", help="the network that the weights are of")
    convert.add_argument("--data", metavar="SOURCE", help="images of its classes (default: the recipe's)")
    convert.add_argument(
        "--recipe",
        metavar="RECIPE",
        help="says how images were normalised (default: that of the tutorial with this network)",
    )
    convert.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a field of the recipe"
    )
    convert.add_argument("--out", metavar="DIR", help="run folder (default: runs/RECIPE-NNN)")


def _train(args: argparse.Namespace) -> None:
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
        console=console_of(args),
    )
    if not is_first_process():
        return None
    if args.json:
        return print_json(result.to_json())
    run = shlex.quote(result.run)
    if result.best_val_accuracy is not None:
        judged = f"validation accuracy {result.best_val_accuracy:.2%} in epoch {result.best_epoch}"
    elif result.train_accuracy is not None:
        judged = f"training accuracy {result.train_accuracy:.2%}, nothing was validated"
    else:
        judged = "nothing was judged yet"
    early = f" of {result.epochs_planned}, stopped by {result.stopped_by}" if result.stopped_by else ""
    print(f"trained to epoch {result.epochs}{early}: {judged}; kept in {result.run}")
    if result.stopped_by == "max_minutes":
        return print_next({f"train --resume {run}": ""})
    return print_next({_evaluate_line(result.run): "", f"export {run}": ""})


def _evaluate_line(run: str) -> str:
    """Returns the command that judges a run, on the test images where it has some."""
    from pictorch.run_folder import RunFolder

    split = " --split test" if RunFolder.open(run).data()["counts"]["test"] else ""
    return f"evaluate {shlex.quote(run)}{split}"


def _convert(args: argparse.Namespace) -> None:
    from pictorch.training.convert import convert

    result = convert(
        args.file,
        model=args.model,
        data=args.data,
        recipe=args.recipe,
        set=args.set,
        out=args.out,
        console=console_of(args),
    )
    if args.json:
        return print_json(result.to_json())
    run = shlex.quote(result.run)
    print(f"{result.in_words()}\nall of {result.weights} fits {result.network}; kept in {result.run}")
    return print_next({_evaluate_line(result.run): "", f"report {run}": "", f"export {run}": ""})


def _demo(args: argparse.Namespace) -> None:
    from pictorch.walkthrough import demo

    result = demo(out=args.out, console=console_of(args))
    if args.json:
        return print_json(result.to_json())
    print_evaluation(result.evaluation)
    print()
    for prediction, label in zip(result.predictions, result.labels, strict=True):
        print(f"test image of class {label}: called {prediction.name} ({prediction.probability:.1%})")
    print(f"\nrun     {result.run}\nbundle  {result.bundle}\nreport  {result.report}\n")
    return print_next(
        {
            f"verify {shlex.quote(result.bundle)}": "the exported file proves itself",
            "recipes": "what else can be trained",
            "train cifar10-simple-net": "the same on CIFAR-10",
        }
    )
