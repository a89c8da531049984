"""The tree of commands: argparse, whose errors are one line like all others."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from pictorch.errors import RecipeError

# A verb returns its exit code where it is not 0.
Verb = Callable[[argparse.Namespace], int | None]
AddVerb = Callable[[str, Verb, str], argparse.ArgumentParser]


class Parser(argparse.ArgumentParser):
    """Argparse, whose own errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        """Raises RecipeError with what is wrong and where to look it up."""
        raise RecipeError(f"{message}; see {self.prog} --help")


def build_parser(*rooms: Callable[[AddVerb], None]) -> Parser:
    """Returns the parser of all commands; each room adds its own.

    A command of two words, as 'data show', becomes a command of the group that its first word names.
    """
    shared = Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    shared.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    shared.add_argument("-v", "--verbose", action="store_true", help="show a line at every record")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = Parser(
        prog="pictorch",
        description="Trains, judges and ships image classifiers.",
        epilog="First steps: pictorch demo, then pictorch train cifar10-cnn.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    top = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups = {"": top}

    def add_verb(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        group, _, word = name.rpartition(" ")
        if group not in groups:
            about = _GROUPS[group]
            groups[group] = top.add_parser(group, help=about, description=about).add_subparsers(
                title="commands", metavar="COMMAND", required=True
            )
        added = groups[group].add_parser(word, parents=[shared], help=text, description=text)
        added.set_defaults(verb=function)
        return added

    for add in rooms:
        add(add_verb)
    return parser


_GROUPS = {"data": "look at images before anything is trained on them"}


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for, since that reads the disk."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any, **also_unused: Any) -> None:
        from importlib.metadata import version

        print(version("pictorch"))
        parser.exit()
