"""The commands that only look: runs, recipes and networks."""

import argparse
import sys

from pictorch.cli.output import plain, print_json, print_next, print_table, program_name
from pictorch.cli.parser import AddVerb

_WIDE = 115  # columns of text in which the whole table of runs has room
_STATE_STYLES = {"broken": "red", "training": "green", "interrupted": "yellow", "stopped": "yellow"}


def add(verb: AddVerb) -> None:
    """Adds runs, recipes and models."""
    runs = verb("runs", _runs, "list the run folders with what they reached")
    runs.add_argument("folder", nargs="?", default="runs", metavar="DIR", help="default: runs")

    recipes = verb("recipes", _recipes, "list the packaged recipes, or explain one")
    recipes.add_argument("name", nargs="?", metavar="NAME")

    models = verb("models", _models, "list the networks, or show one layer by layer")
    models.add_argument("name", nargs="?", metavar="NAME")
    models.add_argument("--num-classes", type=int, default=10, metavar="N")
    models.add_argument("--image-size", type=int, default=32, metavar="PIXELS")
    models.add_argument(
        "--graph", metavar="FILE", help="write its computation graph: FILE.onnx, or FILE.svg for a drawing"
    )


def _runs(args: argparse.Namespace) -> None:
    from pictorch.run_list import WORDS, runs

    found = runs(args.folder)
    if args.json:
        return print_json(found.to_json())
    if not found:
        print(f"no runs in {found.folder} yet; make one with `{program_name()} train digits`")
        return None
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = Console().width if sys.stdout.isatty() else _WIDE
    left_out = set() if width >= _WIDE else {"recipe", "data", "size"}
    rows = [(run.row(), _STATE_STYLES.get(run.state, "")) for run in found]
    table = Table(box=None, pad_edge=False)
    heads = [head for head in rows[0][0] if head not in left_out]
    for head in heads:
        table.add_column(head, justify="left" if head in WORDS else "right", overflow="fold")
    for row, style in rows:
        table.add_row(*(Text(row[head], style if head == "state" else "") for head in heads))
    print_table(table)
    for run in found:
        if run.reason:
            print(f"broken: {run.reason}")
    return None


def _recipes(args: argparse.Namespace) -> None:
    from pictorch.recipe.files import recipe_header, recipes

    rows = recipes(args.name)
    if args.json:
        return print_json({"recipe" if args.name else "recipes": rows})
    if args.name is None:
        for row in rows:
            print(f"{row['name']:<29} {row['header'].splitlines()[0] if row['header'] else ''}")
        return print_next({"recipes cifar10-cnn": "every field of one, explained", "train digits": ""})
    header = recipe_header(args.name)
    if header:
        print(f"{header}\n")
    for row in rows:
        changed = "*" if row["changed"] else " "
        print(f"{changed} {row['path']} = {plain(row['value'])}")
        print(f"      {row['description']} (default: {plain(row['default'])})")
    print("\n* differs from the default; change any field with --set section.key=value")
    return None


def _models(args: argparse.Namespace) -> None:
    from pictorch.exporting.network_list import models

    size = {"num_classes": args.num_classes, "image_size": args.image_size}
    summaries = models(args.name, **size, graph=args.graph)
    if args.json:
        return print_json({"models": summaries})
    if args.name is None:
        for row in summaries:
            if row["parameters"] is None:
                print(f"{row['name']:<16} takes larger images only")
                continue
            print(
                f"{row['name']:<16} {row['parameters']:>12,} parameters "
                f"{row['multiply_adds'] / 1e6:>10,.1f} M multiply-adds"
            )
        return print_next({"models cifar10_cnn": "layer by layer"})
    from rich.table import Table

    table = Table("layer", "kind", "output", box=None, pad_edge=False)
    for title in ("parameters", "multiply-adds"):
        table.add_column(title, justify="right")
    for layer in summaries[0]["layers"]:
        shape = "x".join(map(str, layer["output_shape"]))
        numbers = (f"{layer['parameters']:,}", f"{layer['multiply_adds']:,}")
        table.add_row(layer["name"], layer["kind"], shape, *numbers)
    totals = (f"{summaries[0]['parameters']:,}", f"{summaries[0]['multiply_adds']:,}")
    table.add_row("total", "", "", *totals, style="bold")
    print_table(table)
    if args.graph is not None:
        print(f"\ngraph   {args.graph}")
    return None
