"""The tree of commands: argparse, whose errors are one line like all others."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from pictorch.errors import RecipeError, nearest

# A verb returns its exit code where it is not 0.
Verb = Callable[[argparse.Namespace], int | None]
AddVerb = Callable[[str, Verb, str], argparse.ArgumentParser]


class Parser(argparse.ArgumentParser):
    """Argparse without abbreviated flags, whose own errors are one line like all others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Returns (namespace, []): what a command does not know, it refuses itself."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse("argument", unknown[0], self._option_string_actions)
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Raises RecipeError with what is wrong and where to look it up."""
        choice = re.fullmatch(
            r"argument (\S+): invalid choice: '(.*)' \(choose from (.+)\)", message, re.DOTALL
        )
        if choice:
            kind = "command" if choice[1] == "COMMAND" else choice[1]
            self._refuse(kind, choice[2], re.findall(r"[\w-]+", choice[3]))
        if message.endswith("required: COMMAND"):
            message = "no command is given; begin with `pictorch demo`"
        raise RecipeError(f"{message}; `{self.prog} --help` explains it")

    def _refuse(self, kind: str, word: str, known: Iterable[str]) -> NoReturn:
        near = nearest(word.partition("=")[0], known)
        raise RecipeError(f"unknown {kind} {word!r}{near}; `{self.prog} --help` lists what there is")


def build_parser(*rooms: Callable[[AddVerb], None]) -> Parser:
    """Returns the parser of all commands; each room adds its own.

    A command of two words, as 'data show', becomes a command of the group that its first word names.
    """
    shared = Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    amount = shared.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="show results and errors only")
    amount.add_argument("-v", "--verbose", action="store_true", help="show a line at every recorded step too")
    shared.add_argument("--debug", action="store_true", help="show where an error arose (its traceback)")
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
