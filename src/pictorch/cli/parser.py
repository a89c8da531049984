"""The tree of commands: argparse, whose errors are one line like all others."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from pictorch.errors import RecipeError, nearest

# A verb sets exit_code where it is not 0.
Verb = Callable[[argparse.Namespace], None]
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
            message = f"{self.prog}: no command is given"
        raise RecipeError(f"{message}; `{self.prog} --help` shows what to write")

    def _refuse(self, kind: str, word: str, known: Iterable[str]) -> NoReturn:
        near = nearest(word.partition("=")[0], known)
        raise RecipeError(f"unknown {kind} {word!r}{near}; `{self.prog} --help` lists what there is")


def build_parser(*rooms: Callable[[AddVerb], None]) -> Parser:
    """Returns the parser of all commands; each room adds its own.

    A command of two words, as 'data show', becomes a command of the group that its first word names.
    """
    parser = Parser(
        prog="pictorch",
        usage="pictorch COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    top = parser.add_subparsers(
        prog="pictorch", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )  # parser.description lists them in the order of the work
    groups, verbs = {"": top}, dict[str, argparse.ArgumentParser]()

    def add_verb(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        group, _, word = name.rpartition(" ")
        if group not in groups:
            about = _GROUPS[group]
            groups[group] = top.add_parser(group, help=about, description=about).add_subparsers(
                title="commands", metavar="COMMAND", required=True
            )
        added = groups[group].add_parser(word, help=text, description=text)
        added.set_defaults(verb=function, command=name, takes_group=False)
        verbs[name] = added
        return added

    for add in rooms:
        add(add_verb)
    for each in verbs.values():
        _add_general(each)
    parser.description = _overview(verbs)
    return parser


def _add_general(verb: argparse.ArgumentParser) -> None:
    """Adds what every command takes, below what this one is about."""
    general = verb.add_argument_group("for every command")
    general.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    amount = general.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="show results and errors only")
    amount.add_argument("-v", "--verbose", action="store_true", help="show a line at every recorded step too")
    general.add_argument("--debug", action="store_true", help="show where an error arose (its traceback)")


def _overview(verbs: dict[str, argparse.ArgumentParser]) -> str:
    """Returns what pictorch is, its commands under the headings of the work, and where to begin."""
    parts = ["Trains, judges and ships image classifiers. Begin with: pictorch demo"]
    for heading, names in _WORK.items():
        lines = [f"  {name:<14} {verbs[name].description}" for name in names if name in verbs]
        parts += ["\n".join([f"{heading}:", *lines])] if lines else []
    return "\n\n".join(parts)


_GROUPS = {
    "data": "look at images before anything is trained on them",
    "bench": "measure on this machine",
}
_WORK = {
    "look at the images": ("data show", "data check"),
    "train": ("demo", "recipes", "models", "train", "convert", "runs"),
    "judge": ("evaluate", "report"),
    "ship": ("export", "import", "verify", "predict", "serve"),
    "this machine": (
        *("doctor", "profile", "bench zoo", "bench ladder", "bench speedrun", "bench serving"),
        "bench export",
    ),
}


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for, since that reads the disk."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any, **also_unused: Any) -> None:
        from importlib.metadata import version

        print(version("pictorch"))
        parser.exit()
