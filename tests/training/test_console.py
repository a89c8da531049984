"""What a person sees: a moving line in a terminal, plain lines elsewhere, all of it in the log."""

import io
import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pictorch.errors import DataError
from pictorch.training.console import Console, StepView

VIEW = StepView(
    epoch=2,
    epochs=40,
    batch=3,
    batches=4,
    loss=1.23456,
    learning_rate=0.05,
    gradient_norm=2.5,
    images_per_second=12_345.6,
    seconds_left=185,
)
PLACE = "epoch 2/40  batch 3/4  3 min 05 s left"
FIGURES = "loss 1.2346  lr 0.05  grad 2.5  12,346 images/s"
LINE = f"{PLACE}  {FIGURES}"
HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}  \S.*")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    strftime = staticmethod(time.strftime)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pictorch.training.console.time", made)
    return made


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")


def test_the_figures_of_a_step() -> None:
    assert (VIEW.place(), VIEW.figures()) == (PLACE, FIGURES)
    without = StepView(1, 1, 1, 1, 0.0, 1e-5, None, 0.4, 0.2)
    assert without.place() == "epoch 1/1  batch 1/1  0.2 s left"
    assert without.figures() == "loss 0.0000  lr 1e-05  0 images/s"


def test_without_a_terminal_lines_are_plain() -> None:
    stream = io.StringIO()
    with Console(stream=stream) as console:
        console.line("first", "bold")
        console.step(VIEW)
        console.line("[red]not markup[/red] :smile:")
    assert stream.getvalue() == f"first\n{LINE}\n[red]not markup[/red] :smile:\n"


def test_plain_steps_come_every_half_minute(clock: Clock) -> None:
    with Console(stream=io.StringIO()) as console:
        assert not console.wants_step()
        clock.now += 29.9
        assert not console.wants_step()
        clock.now += 0.2
        assert console.wants_step()
        console.step(VIEW)
        assert not console.wants_step()


def test_quiet_shows_nothing_and_keeps_the_log(tmp_path: Path, clock: Clock) -> None:
    for stream in (io.StringIO(), Terminal()):
        with Console("quiet", stream) as console:
            console.keep_log(tmp_path / "log.txt")
            clock.now += 1000
            assert not console.wants_step()
            console.line("kept", "bold")
        assert stream.getvalue() == ""
    kept = (tmp_path / "log.txt").read_text().splitlines()
    assert [line for line in kept if not HEAD.fullmatch(line)] == ["kept", "kept"]


def test_the_log_keeps_all_that_was_shown(tmp_path: Path) -> None:
    stream, log = io.StringIO(), tmp_path / "log.txt"
    console = Console(stream=stream)
    console.line("before")
    console.keep_log(log)
    console.line("é 鳥")
    console.step(VIEW)
    Console(stream=io.StringIO()).line("another console")
    assert stream.getvalue() == f"before\né 鳥\n{LINE}\n"
    head, _, rest = log.read_text("utf-8").partition("\n")
    assert HEAD.fullmatch(head), "date and command"
    assert rest == f"before\né 鳥\n{LINE}\n"
    console.line("a path that is not UTF-8: \udcff")
    assert log.read_text("utf-8").endswith("not UTF-8: \\udcff\n")


def shown_in_a_terminal() -> str:
    terminal = Terminal()
    with Console(stream=terminal) as console:
        console.line("lasting line", "bold")
        console.step(VIEW)
        time.sleep(0.01)
    return terminal.getvalue()


def test_a_terminal_has_a_moving_line() -> None:
    text = shown_in_a_terminal()
    assert "lasting line" in text
    assert "━━━━━━━━━━━━━━━─────" in text, "three of four batches"
    assert PLACE in text
    assert FIGURES in text
    assert "\x1b[?25l" in text, "the cursor is hidden"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "and comes back"
    assert "\x1b[2K" in text.rpartition("\x1b[?25h")[2], "the moving line is wiped away at the end"
    assert re.search(r"\x1b\[[\d;]*m", text), "colours"


def test_the_moving_line_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    plain = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", shown_in_a_terminal()).replace("\r", "\n")
    assert max(len(line) for line in plain.splitlines()) <= 40
    assert "images/s" in plain


def test_a_lasting_line_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    with Console(stream=terminal) as console:
        console.line("x" * 100)
        console.line("[red]runs/[x]-001[/red] :smile:", "bold")
    assert "x" * 100 in terminal.getvalue()
    assert "[red]runs/[x]-001[/red] :smile:" in terminal.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colour and no bold (ECMA-48's SGR); the line still moves, which needs the cursor's codes."""
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown_in_a_terminal()
    assert "lasting line" in text
    assert "epoch 2/40" in text
    assert not re.search(r"\x1b\[[\d;]*m", text)


def test_an_empty_no_color_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert re.search(r"\x1b\[[\d;]*m", shown_in_a_terminal())


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert shown_in_a_terminal() == f"lasting line\n{LINE}\n"


def test_in_a_terminal_the_line_moves_often(clock: Clock) -> None:
    with Console(stream=Terminal()) as console:
        assert not console.wants_step()
        clock.now += 0.3
        assert console.wants_step()


def test_the_terminal_is_left_in_order_after_an_error() -> None:
    terminal = Terminal()
    with pytest.raises(KeyError), Console(stream=terminal) as console:  # noqa: PT012
        console.step(VIEW)
        raise KeyError
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    console.line("after it")
    assert terminal.getvalue().endswith("after it\n")


def worked(console: Console, log: Path, work: Callable[[], None]) -> str:
    """Returns what one piece of work left in its log, less date and command."""
    with suppress(BaseException), console.recorded():
        console.line("before the log is known")
        console.keep_log(log)
        work()
    text = log.read_text()
    log.unlink()
    return text.partition("\n")[2]


def test_the_error_that_ends_the_work_stands_in_the_log(tmp_path: Path) -> None:
    def fail(error: BaseException) -> Callable[[], None]:
        def work() -> None:
            raise error

        return work

    console, log = Console("quiet", io.StringIO()), tmp_path / "log.txt"
    before = "before the log is known\n"
    told = worked(console, log, fail(DataError("no such folder; give another")))
    assert told == f"{before}no such folder; give another\n"
    for error in (ZeroDivisionError("oh"), KeyboardInterrupt()):
        told = worked(console, log, fail(error))
        assert told.startswith(f"{before}Traceback")
        assert type(error).__name__ in told.splitlines()[-1]


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("level", ["quiet", "normal"])
def test_warnings_are_lines_of_the_log(tmp_path: Path, level: str) -> None:
    stream, shown = io.StringIO(), warnings.showwarning
    told = worked(
        Console(level, stream), tmp_path / "log.txt", lambda: warnings.warn("old\n  way", stacklevel=1)
    )
    line = "warning: old way (UserWarning)\n"
    assert told == f"before the log is known\n{line}"
    assert stream.getvalue().endswith(line) == (level == "normal")
    assert warnings.showwarning is shown


def test_works_do_not_mix_their_logs(tmp_path: Path) -> None:
    console = Console("quiet", io.StringIO())
    assert worked(console, tmp_path / "one.txt", lambda: None) == "before the log is known\n"
    console.line("between")
    assert worked(console, tmp_path / "two.txt", lambda: None) == "before the log is known\n"


def test_details_are_for_the_verbose() -> None:
    for level, expected in (("quiet", ""), ("normal", ""), ("verbose", "a detail\n")):
        stream = io.StringIO()
        Console(level, stream).detail("a detail")
        assert stream.getvalue() == expected
