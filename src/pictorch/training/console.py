"""What a person sees of a training: a live line in a terminal, plain lines elsewhere."""

import os
import shlex
import sys
import time
import traceback as tracebacks
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from pictorch.errors import UserError
from pictorch.formats import duration

_REFRESH_SECONDS = 0.25
_PLAIN_SECONDS = 30.0


@dataclass(frozen=True)
class StepView:
    """The figures of a moment in training; `epoch` and `batch` count from 1."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    images_per_second: float
    seconds_left: float

    def place(self) -> str:
        """Returns where training stands, as text."""
        return (
            f"epoch {self.epoch}/{self.epochs}  batch {self.batch}/{self.batches}  "
            f"{duration(self.seconds_left)} left"
        )

    def figures(self) -> str:
        """Returns how training goes, as text."""
        norm = "" if self.gradient_norm is None else f"  grad {self.gradient_norm:.3g}"
        return (
            f"loss {self.loss:.4f}  lr {self.learning_rate:.3g}{norm}  {self.images_per_second:,.0f} images/s"
        )


class Console:
    """Shows lasting lines and the moving one on `stream`, and keeps the lasting ones in log.txt.

    `level` is 'quiet' (nothing but log.txt), 'normal' or 'verbose' (details, and a plain line at
    every record).
    """

    def __init__(self, level: str = "normal", stream: TextIO | None = None) -> None:
        self._level = level
        self._stream = stream if stream is not None else sys.stderr
        self._live: Live | None = None
        self._log_path: Path | None = None
        self._unlogged: list[str] = []
        self._shown_at = 0.0

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keeps the lines of one piece of work, Python's warnings and the error that ends it for its log.

        They wait until `keep_log` names the log, and are dropped where it never does.
        """
        path, self._log_path, self._unlogged = self._log_path, None, []
        shown, warnings.showwarning = warnings.showwarning, self._warning
        try:
            yield
        except UserError as error:
            self.log(str(error))
            raise
        except BaseException:
            self.log(tracebacks.format_exc().rstrip())
            raise
        finally:
            warnings.showwarning = shown
            self._log_path = path

    def keep_log(self, path: Path) -> None:
        """Appends date and command, and every lasting line of the work, to `path` as well."""
        waiting = [f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}  {shlex.join(command_line())}", *self._unlogged]
        self._log_path, self._unlogged = path, []
        for text in waiting:
            self.log(text)

    def log(self, text: str) -> None:
        """Keeps a line in log.txt without showing it."""
        if self._log_path is None:
            self._unlogged.append(text)
            return
        # A log is a view: where it cannot be written, training goes on.
        with (
            suppress(OSError),
            self._log_path.open("a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(text + "\n")

    def line(self, text: str, style: str = "") -> None:
        """Shows a lasting line."""
        self.log(text)
        if self._level == "quiet":
            return
        try:
            if self._live is not None:
                self._live.console.print(Text(text, style), soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)
        except OSError:
            self._level = "quiet"  # whoever watched has left; the work goes on

    def detail(self, text: str) -> None:
        """Shows a lasting line where the level is verbose."""
        if self.is_verbose:
            self.line(text)

    def silence(self) -> None:
        """Shows nothing from here on."""
        self._level = "quiet"

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._level == "quiet"

    @property
    def is_verbose(self) -> bool:
        """Whether every recorded step is shown as a lasting line."""
        return self._level == "verbose"

    def wants_step(self) -> bool:
        """Returns whether the moving line is due; asking before measuring keeps the loop free."""
        if self._level == "quiet":
            return False
        pause = _REFRESH_SECONDS if self._live is not None else _PLAIN_SECONDS
        return time.monotonic() - self._shown_at >= pause

    def step(self, view: StepView) -> None:
        """Shows the moving line."""
        self._shown_at = time.monotonic()
        if self._live is not None:
            share = view.batch / view.batches
            bar = "━" * round(20 * share)
            self._live.update(Text.assemble((f"{bar:─<20}", "cyan"), f"  {view.place()}\n{view.figures()}"))
        else:
            self.line(f"{view.place()}  {view.figures()}")

    def _warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stands in for warnings.showwarning."""
        self.line(f"warning: {' '.join(str(message).split())} ({category.__name__})")

    def __enter__(self) -> "Console":
        self._shown_at = time.monotonic()
        if self._level != "quiet" and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            plain = bool(os.environ.get("NO_COLOR"))
            console = RichConsole(file=self._stream, color_system=None if plain else "auto")
            self._live = Live(console=console, transient=True, refresh_per_second=1 / _REFRESH_SECONDS)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def command_line() -> list[str]:
    """Returns the command that this process was started with, without the folder of the program."""
    program = Path(sys.argv[0]).name
    return ["pictorch" if program == "__main__.py" else program, *sys.argv[1:]]
