"""The commands that make a run: demo and train."""

import argparse

from pictorch.cli.output import console_of, print_evaluation, print_json, program_name
from pictorch.cli.parser import AddVerb


def add(verb: AddVerb) -> None:
    """Adds demo and train."""
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
        console=console_of(args),
    )
    if args.json:
        return print_json(result.to_json())
    if result.best_val_accuracy is not None:
        judged = f"validation accuracy {result.best_val_accuracy:.2%} in epoch {result.best_epoch}"
    else:
        judged = f"training accuracy {result.train_accuracy:.2%}, nothing was validated"
    early = ", stopped early" if result.stopped_early else ""
    print(f"trained to epoch {result.epochs}{early}: {judged}; kept in {result.run}")
    split = " --split test" if RunFolder.open(result.run).data()["counts"]["test"] else ""
    program = program_name()
    print(f"next:  {program} evaluate {result.run}{split}\n       {program} export {result.run}")
    return None


def _demo(args: argparse.Namespace) -> None:
    from pictorch.demo import demo

    result = demo(out=args.out, console=console_of(args))
    if args.json:
        return print_json(result.to_json())
    print_evaluation(result.evaluation)
    print()
    for prediction, label in zip(result.predictions, result.labels, strict=True):
        print(f"a test image of a {label} is called {prediction.name} ({prediction.probability:.1%})")
    print(f"\nrun     {result.run}\nbundle  {result.bundle}\nreport  {result.report}")
    program = program_name()
    print(
        "\nnext:\n"
        f"  {program} verify {result.bundle}    the exported file proves itself\n"
        f"  {program} recipes                          what else can be trained\n"
        f"  {program} train cifar10-simple-net         the same on CIFAR-10"
    )
    return None
