"""What every command shares: its console, JSON, tables, and how the user calls pictorch."""

import argparse
import json
import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from pictorch.training.console import Console


def console_of(args: argparse.Namespace) -> "Console":
    """Returns the console that -q and -v ask for."""
    from pictorch.training.console import Console

    return Console("quiet" if args.quiet else "verbose" if args.verbose else "normal")


def print_json(value: dict[str, Any]) -> None:
    """Prints one object as one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_table(table: Any) -> None:
    """Prints a rich table, in a terminal no wider than that, elsewhere as wide as it is."""
    rich_console(soft_wrap=True, width=None if sys.stdout.isatty() else 1000).print(table)


def rich_console(**options: Any) -> "RichConsole":
    """Returns rich's console on stdout; text stays as it is, a reader who left raises BrokenPipeError."""
    from rich.console import Console

    class StdoutConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error that rich has caught

    return StdoutConsole(markup=False, emoji=False, highlight=False, **options)


def print_evaluation(result: Any) -> None:
    """Prints an evaluation: the accuracy with its interval, and a row for each class."""
    from rich.table import Table

    from pictorch.images import shown

    low, high = result.accuracy_interval
    print(
        f"{result.split} accuracy {result.accuracy:.2%}  (n = {result.n:,}, 95 % interval {low:.2%} to "
        f"{high:.2%})  loss {result.loss:.4f}  checkpoint {result.checkpoint}"
    )
    if views := result.views:
        low, high = views.accuracy_interval
        print(
            f"with views {views.accuracy:.2%}  (95 % interval {low:.2%} to {high:.2%})  "
            f"loss {views.loss:.4f}  {views.in_words()}"
        )
    if result.split == "test" and result.step is not None:
        print(f"openings of this run's test set so far: {result.test_openings}")
    table = Table("class", box=None, pad_edge=False)
    for title in ("n", "precision", "recall", "F1", "AUC"):
        table.add_column(title, justify="right")
    for row in result.per_class:
        auc = "" if row.auc is None else f"{row.auc:.4f}"
        table.add_row(
            shown(row.name), f"{row.n:,}", f"{row.precision:.2%}", f"{row.recall:.2%}", f"{row.f1:.2%}", auc
        )
    print_table(table)


def plain(value: Any) -> str:
    """Shows a value as it is written in a recipe."""
    return "required" if value == "required" else json.dumps(value, ensure_ascii=False)


def program_name() -> str:
    """Returns how the user calls pictorch: by name, or by path where it is not on the PATH."""
    if shutil.which("pictorch"):
        return "pictorch"
    if os.path.basename(sys.argv[0]) == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m pictorch"
    return shlex.quote(os.path.relpath(sys.argv[0]))


def print_next(commands: dict[str, str]) -> None:
    """Prints what to do next, as lines to paste; a value says what its command is for, or nothing."""
    width = max(map(len, commands))
    for place, (command, reason) in enumerate(commands.items()):
        comment = f"{'':{width - len(command)}}  # {reason}" if reason else ""
        print(f"{'       ' if place else 'next:  '}{program_name()} {command}{comment}")
