"""The standard streams as they may be: closed, full, left by their reader, or of a poor encoding."""

import io
import os
import sys


def prepare_streams() -> None:
    """Puts nothing in the place of closed streams, and lets text that a stream cannot hold be escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Sends what is left in stdout nowhere, since nobody can take it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
