"""The command line: parses and prints; one thin function for each verb, imports inside it."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pictorch.cli import benchmarking, data, judging, looking, machine, predicting, serving, training
from pictorch.cli.output import print_json
from pictorch.cli.parser import build_parser
from pictorch.cli.streams import drop_stdout, prepare_streams
from pictorch.errors import RecipeError, SaidElsewhereError, UserError, missing_part
from pictorch.host import is_first_process, torchrun_processes

ROOMS = (
    training.add, judging.add, predicting.add, serving.add,
    looking.add, data.add, machine.add, benchmarking.add,
)  # fmt: skip

# How long a process that says nothing lets another speak: torchrun kills all others when one has ended.
_SILENT_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error that a user can mend is one line."""
    given = sys.argv[1:] if arguments is None else arguments
    args = argparse.Namespace(json="--json" in given, debug="--debug" in given, exit_code=0)
    prepare_streams()
    try:
        args = build_parser(*ROOMS).parse_args(given, args)
        _check_alone(args)
        args.verb(args)
        sys.stdout.flush()
    except UserError as error:
        return _fail(args, str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return _fail(args, "stopped by SIGINT before anything needed saving; run it again", 130, error)
    except MemoryError as error:
        remedy = "close other programs, or make data.image_size or the batch smaller"
        return _fail(args, f"out of memory; {remedy}", 5, error)
    except ModuleNotFoundError as error:
        missing = missing_part(error)
        if missing is None:
            return _fail(args, _our_bug(error), 1, error)
        return _fail(args, str(missing), missing.exit_code, error)
    except BrokenPipeError:  # whoever read our output has left
        drop_stdout()
    except OSError as error:
        what = f"{error.filename or 'the system'} cannot be used ({error.strerror or error})"
        return _fail(args, f"{what}; check the path, its rights and the free space", 5, error)
    except Exception as error:
        message = _their_bug(error)
        return _fail(args, message or _our_bug(error), 2 if message else 1, error)
    exit_code: int = args.exit_code
    return exit_code


def _check_alone(args: argparse.Namespace) -> None:
    """Raises RecipeError where torchrun started several processes for a command that one does."""
    processes = torchrun_processes()
    if args.takes_group or processes == 1:
        return
    if not is_first_process("LOCAL_RANK"):
        raise SaidElsewhereError("the host's first process says it", RecipeError.exit_code)
    shards = ", and give each of several commands its --shard I/N" if args.command == "predict" else ""
    raise RecipeError(
        f"{args.command} works in one process, and torchrun started {processes}; leave out torchrun{shards}"
    )


def _our_bug(error: BaseException) -> str:
    """Returns the line for what is no fault of the user: what, in which line of pictorch, what to do."""
    import traceback

    here = Path(__file__).parents[1]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(here)]
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    reason = " ".join(str(error).split())[:100]
    return f"a bug of pictorch ({type(error).__name__}: {reason}){place}; report it with what --debug shows"


def _their_bug(error: BaseException) -> str | None:
    """Returns the line for an error that a network or loss of the user's own raised while it was used.

    None where the last of pictorch's frames and those below the working folder is one of pictorch's.
    """
    import traceback

    here, installed = Path(__file__).parents[1], (sys.prefix, sys.base_prefix)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(here):
            return None
        if file.is_relative_to(Path.cwd()) and not any(map(file.is_relative_to, installed)):
            reason = " ".join(str(error).split())[:100]
            return f"{file.name}, line {frame.lineno}: {type(error).__name__}: {reason}; mend it there"
    return None


def _fail(args: argparse.Namespace, message: str, exit_code: int, error: BaseException) -> int:
    if args.debug:
        import traceback

        traceback.print_exception(error)
    is_of_each = not hasattr(args, "verb") or isinstance(error, ModuleNotFoundError)  # it met no group yet
    if isinstance(error, SaidElsewhereError) or (is_of_each and not is_first_process("LOCAL_RANK")):
        if exit_code < 128:  # after a signal torchrun ends all already
            time.sleep(_SILENT_SECONDS)
        return exit_code
    message = message.encode(errors="backslashreplace").decode()  # paths need not be text
    for line in message.splitlines():
        print(f"pictorch: {line}", file=sys.stderr)
    try:
        if args.json:
            print_json({"error": message, "exit_code": exit_code})
        sys.stdout.flush()
    except OSError:
        drop_stdout()
    return exit_code
