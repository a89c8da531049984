"""The commands that compare on this machine: bench zoo, ladder, speedrun, serving and export."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pictorch.cli.output import console_of, print_json, print_next, print_table
from pictorch.cli.parser import AddVerb

if TYPE_CHECKING:
    from pictorch.benchmarking.serving import ServingBench
    from pictorch.benchmarking.speedrun import Speedrun


def add(verb: AddVerb) -> None:
    """Adds bench zoo, bench ladder, bench speedrun, bench serving and bench export."""
    zoo = verb("bench zoo", _zoo, "train networks and compare accuracy, size and speed")
    zoo.add_argument("--models", metavar="NAME,NAME", help="networks (default: the four small ones)")
    zoo.add_argument("--recipe", metavar="RECIPE", help="train all by this one (default: each by its own)")
    zoo.add_argument("--epochs", type=int, metavar="N", help="passes over the images (default: the recipe's)")
    zoo.add_argument("--seeds", type=int, metavar="N", help="trainings of each network (default: 1)")
    _add_shared(zoo)

    ladder = verb("bench ladder", _ladder, "time a small CNN and three ways to train ResNet-34")
    ladder.add_argument(
        "--steps", type=int, metavar="N", help="time N steps of each rung and train nothing to its end"
    )
    ladder.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images (default: the recipe's)"
    )
    _add_shared(ladder)

    speedrun = verb("bench speedrun", _speedrun, "seconds to an accuracy, from a cold start")
    speedrun.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="what is trained (default: the fast one for the target)"
    )
    speedrun.add_argument(
        "--target", type=float, metavar="SHARE", help="test accuracy to reach (default: 0.94)"
    )
    speedrun.add_argument("--seeds", type=int, metavar="N", help="trainings (default: 3)")
    _add_shared(speedrun)

    serving = verb("bench serving", _serving, "latency and images/s of the server under load")
    serving.add_argument("bundle", metavar="BUNDLE")
    serving.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each load (default: 5)")
    serving.add_argument(
        "--requests", type=int, default=5_000, metavar="N", help="while memory is watched (default: 5000)"
    )
    serving.add_argument("--out", metavar="DIR", help="folder of the tables (default: runs/serving-NNN)")

    exported = verb("bench export", _export, "size, speed and accuracy of the forms of a bundle")
    exported.add_argument("bundle", metavar="BUNDLE")
    exported.add_argument("--data", metavar="SOURCE", help="its images, for int8 and accuracy")
    exported.add_argument(
        "--out", metavar="DIR", help="folder of the forms and tables (default: runs/export-NNN)"
    )


def _add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", metavar="SOURCE", help="images (default: the recipe's)")
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), help="where to train (default: auto)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change a field of all recipes",
    )
    command.add_argument("--out", metavar="DIR", help="folder of the runs and tables; goes on with one begun")


def _zoo(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.zoo import bench_zoo

    found = bench_zoo(
        models=args.models,
        recipe=args.recipe,
        epochs=args.epochs,
        seeds=args.seeds,
        data=args.data,
        device=args.device,
        set=args.set,
        out=args.out,
        console=console_of(args),
    )
    args.exit_code = found.exit_code
    if args.json:
        return print_json(found.to_json())
    _print_rows([row.shown() for row in found.rows])
    _print_remarks(found.remarks)
    print(f"{found.record['advice_rule']}\n{found.advice}\n")
    print(f"tables, picture and every value: {found.out}/zoo.md, zoo.csv, zoo.svg, zoo.json")
    return print_next({f"runs {found.out}": "the runs behind it"})


def _ladder(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.ladder import bench_ladder

    found = bench_ladder(
        steps=args.steps,
        epochs=args.epochs,
        data=args.data,
        device=args.device,
        set=args.set,
        out=args.out,
        console=console_of(args),
    )
    if args.json:
        return print_json(found.to_json())
    _print_rows([rung.shown() for rung in found.rungs])
    print()
    _print_rows([worth.shown() for worth in found.worths])
    _print_remarks(found.remarks)
    print(f"tables and every value: {found.out}/ladder.md, ladder.csv, ladder.json")
    return None


def _speedrun(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.speedrun import bench_speedrun

    found = bench_speedrun(
        args.recipe,
        target=args.target,
        seeds=args.seeds,
        data=args.data,
        device=args.device,
        set=args.set,
        out=args.out,
        console=console_of(args),
    )
    args.exit_code = found.exit_code
    if args.json:
        return print_json(found.to_json())
    _print_found(found, "speedrun")
    return print_next({f"runs {found.out}": "the runs behind it"})


def _serving(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.serving import bench_serving

    found = bench_serving(
        args.bundle, seconds=args.seconds, requests=args.requests, out=args.out, console=console_of(args)
    )
    if args.json:
        return print_json(found.to_json())
    _print_found(found, "serving")
    return None


def _export(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.exported import bench_export

    found = bench_export(args.bundle, data=args.data, out=args.out, console=console_of(args))
    if args.json:
        return print_json(found.to_json())
    _print_rows([row.shown() for row in found.rows])
    _print_remarks(found.remarks)
    print(f"{found.record['advice_rule']}\n{found.advice}\n")
    print(f"forms, tables and every value: {found.out}/export.md, export.csv, export.json")
    return None


def _print_found(found: "Speedrun | ServingBench", name: str) -> None:
    """Prints the rows, what they come to, the remarks, and where all of it is kept."""
    _print_rows([row.shown() for row in found.rows])
    print()
    _print_rows(found.summary.shown())
    _print_remarks(found.remarks)
    print(f"tables and every value: {found.out}/{name}.md, {name}.csv, {name}.json")


def _print_rows(rows: Sequence[dict[str, str]]) -> None:
    """Prints rows with the same keys as a table; all columns but the first are set right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for place, head in enumerate(rows[0]):
        table.add_column(head, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    print_table(table)


def _print_remarks(remarks: Sequence[str]) -> None:
    print("", *(f"- {remark}" for remark in remarks), "", sep="\n")
