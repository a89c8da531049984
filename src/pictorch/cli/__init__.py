"""The command line: parses and prints; one thin function for each verb, imports inside it."""

import argparse
import os
import sys
from collections.abc import Sequence

from pictorch.cli import judging, looking, training
from pictorch.cli.output import print_json
from pictorch.cli.parser import build_parser
from pictorch.errors import MissingPartError, UserError

ROOMS = (training.add, judging.add, looking.add)

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "sklearn": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "train",
    "onnxscript": "train",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error that a user can mend is one line."""
    given = sys.argv[1:] if arguments is None else arguments
    args = argparse.Namespace(json="--json" in given, debug="--debug" in given)
    exit_code = 0
    try:
        args = build_parser(*ROOMS).parse_args(given)
        exit_code = args.verb(args) or 0
        sys.stdout.flush()
    except UserError as error:
        return _fail(args, str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return _fail(args, "stopped by SIGINT before anything needed saving", 130, error)
    except MemoryError as error:
        return _fail(args, "out of memory; make train.batch_size or data.image_size smaller", 5, error)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            return _fail(args, f"internal error: {error}", 1, error)
        missing = MissingPartError(extra, error.name or "")
        return _fail(args, str(missing), missing.exit_code, error)
    except BrokenPipeError:
        # The reader of our output left; what is left to flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(args, f"{error}; check the disk, its rights and its free space", 5, error)
    except Exception as error:
        kind = type(error).__name__
        return _fail(args, f"internal error: {kind}: {error}; --debug shows where it arose", 1, error)
    return exit_code


def _fail(args: argparse.Namespace, message: str, exit_code: int, error: BaseException) -> int:
    if args.debug:
        import traceback

        traceback.print_exception(error)
    for line in message.splitlines():
        print(f"pictorch: {line}", file=sys.stderr)
    if args.json:
        print_json({"error": message, "exit_code": exit_code})
    return exit_code
