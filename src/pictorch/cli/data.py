"""The commands that look at images before anything is trained on them."""

import argparse
import shlex
from typing import Any

from pictorch.cli.output import console_of, print_json, print_next, print_table, rich_console
from pictorch.cli.parser import AddVerb
from pictorch.formats import percent

_ROOT = "folder that the relative paths in a list start from (default: that of the list)"
_FEW, _MOST_ROWS = 3, 40
_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def add(verb: AddVerb) -> None:
    """Adds data show and data check."""
    show = verb("data show", _show, "show what images are like: sizes, colours, classes, pictures")
    show.add_argument("source", metavar="SOURCE", help="a name (cifar10, digits) or the path of images")
    show.add_argument(
        "--recipe", metavar="RECIPE", help="whose division and augmentation (default: what fits)"
    )
    show.add_argument("--root", metavar="DIR", help=_ROOT)
    show.add_argument("--out", metavar="DIR", help="folder for the pictures (default: SOURCE-pictures)")

    check = verb("data check", _check, "list all that is wrong or odd about images; -v: every path")
    check.add_argument("source", metavar="SOURCE", help="a name (cifar10, digits) or the path of images")
    check.add_argument("--root", metavar="DIR", help=_ROOT)


def _show(args: argparse.Namespace) -> None:
    from pictorch.datasets.show import data_show

    result = data_show(
        args.source, recipe=args.recipe, root=args.root, out=args.out, console=console_of(args)
    )
    if args.json:
        return print_json(result.to_json())
    print(f"{result.origin}: {result.n:,} images, {len(result.class_names):,} classes")
    print(f"size     {_sizes(result)}")
    for line in _channels(result):
        print(line)
    print()
    print_table(_class_table(result))
    print()
    for note in result.notes:
        print(f"note     {note}")
    if result.unreadable:
        print(f"note     {result.unreadable:,} of these files cannot be read: `data check` lists them")
    for path in result.pictures.values():
        print(f"picture  {path}")
    source, recipe = shlex.quote(result.source), shlex.quote(args.recipe or result.recipe)
    needs = "".join(f" --set {shlex.quote(need)}" for need in result.needs)
    train, root = f"train {recipe} --data {source}{needs}", f" --root {shlex.quote(args.root or '')}"
    print_next(
        {f"data check {source}{root if args.root else ''}": ""} | ({} if result.unreadable else {train: ""})
    )
    return None


def _sizes(result: Any) -> str:
    shapes = [f"{shape.width} x {shape.height} pixels" for shape in result.shapes]
    if len(shapes) < 2:
        return shapes[0] if shapes else "no image can be read"
    if len(shapes) <= _FEW:
        return ", ".join(f"{text} ({shape.n:,})" for text, shape in zip(shapes, result.shapes, strict=True))
    small, large = (pick(result.shapes, key=lambda shape: shape.width * shape.height) for pick in (min, max))
    often = f"; most often {shapes[0]} ({result.shapes[0].n:,})" if result.shapes[0].n > 1 else ""
    return (
        f"{len(shapes):,} different ones, from {small.width} x {small.height} to "
        f"{large.width} x {large.height} pixels{often}"
    )


def _channels(result: Any) -> list[str]:
    lines = ["channel   range     mean    std   (of the training images; mean and std as shares of 255)"]
    for name, (low, high), mean, std in zip(
        ("red", "green", "blue"), result.channel_range, result.channel_mean, result.channel_std, strict=True
    ):
        lines.append(f"  {name:<6} {low:>3} – {high:>3}  {mean:.4f} {std:.4f}")
    return lines


def _class_table(result: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    counts = result.class_counts
    totals = [sum(numbers) for numbers in zip(*counts.values(), strict=True)]
    table = Table("class", box=None)
    for title in (*counts, "all", "share"):
        table.add_column(title, justify="right")
    table.add_column("")
    order = sorted(range(len(totals)), key=lambda number: -totals[number])
    for number in range(len(totals)) if len(totals) <= _MOST_ROWS else order[:_MOST_ROWS]:
        bar = "█" * round(24 * totals[number] / max(totals))
        table.add_row(
            Text(result.class_names[number]),
            *(f"{numbers[number]:,}" for numbers in counts.values()),
            f"{totals[number]:,}",
            percent(totals[number] / sum(totals), 1),
            Text(bar, "blue"),
        )
    if len(totals) > _MOST_ROWS:
        table.add_row(f"and {len(totals) - _MOST_ROWS:,} smaller ones (--json has all)")
    sums = (f"{sum(numbers):,}" for numbers in counts.values())
    table.add_row("total", *sums, f"{sum(totals):,}", "", "", style="bold")
    return table


def _check(args: argparse.Namespace) -> None:
    from rich.text import Text

    from pictorch.datasets.check import data_check

    result = data_check(args.source, root=args.root, console=console_of(args))
    args.exit_code = 3 if result.must_mend else 0
    if args.json:
        return print_json(result.to_json())
    console = rich_console(soft_wrap=True)
    parts = ", ".join(f"{count:,} {name}" for name, count in result.counts.items())
    console.print(Text(f"{result.origin}: {parts}, {len(result.class_names):,} classes"))
    for finding in result.findings:
        console.print(Text.assemble((f"\n{finding.severity:<8}", _STYLES[finding.severity]), finding.what))
        few = finding.where if args.verbose else finding.where[:_FEW]
        for place in few:
            console.print(Text(f"          {place}", "dim"))
        if len(few) < len(finding.where):
            console.print(Text(f"          and {len(finding.where) - len(few):,} more (-v shows all)", "dim"))
        console.print(Text(f"        → {finding.remedy}"))
    errors, warnings = result.count("error"), result.count("warning")
    noted = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    if errors:
        print(f"\n{errors} to mend{noted}: mend what is marked error, then run this again")
        return None
    if not result.findings:
        print("every file can be read, and no two images are equal")
    print(f"\nnothing must be mended{noted}")
    root = f" --set {shlex.quote(f'data.root={args.root}')}" if args.root else ""
    print_next({f"train {result.recipe} --data {shlex.quote(result.source)}{root}": ""})
    return None
