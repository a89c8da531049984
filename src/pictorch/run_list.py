"""The run folders of a place in one table, the broken ones with the reason."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictorch import durable, notebook
from pictorch.errors import RecipeError, UserError, unreadable
from pictorch.formats import age, megabytes, percent
from pictorch.run_folder import RunFolder
from pictorch.run_records import best_epoch, epochs_planned

WORDS = ("run", "recipe", "data", "state")


@dataclass(frozen=True)
class RunSummary:
    """A run folder at a glance. Accuracies are fractions; None is what there is not (yet).

    `state` is 'training', 'finished', 'stopped early', 'stopped' (in order, by `stopped_by`),
    'interrupted' or 'broken'; a broken one has its `reason` and nothing else that can be relied on.
    `changed_at` is the time of its last training record in seconds since 1970.
    """

    path: str
    size_bytes: int
    changed_at: float
    state: str
    reason: str | None = None
    recipe: str | None = None
    data: str | None = None
    epochs: int = 0
    epochs_planned: int = 0
    stopped_by: str | None = None
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_openings: int = 0

    @property
    def test(self) -> str:
        """The test's accuracy and how often it was opened, as text."""
        if not self.test_openings:
            return ""
        accuracy = "–" if self.test_accuracy is None else percent(self.test_accuracy)
        return f"{accuracy} ({self.test_openings}×)"

    def row(self) -> dict[str, str]:
        """Returns what a table shows, under its heads; WORDS names the columns that hold no numbers."""
        cause = "time is up" if self.stopped_by == "max_minutes" else self.stopped_by
        return {
            "run": self.path,
            "recipe": self.recipe or "",
            "data": (self.data or "").rstrip("/").rpartition("/")[2],
            "epochs": f"{self.epochs}/{self.epochs_planned}" if self.epochs_planned else "",
            "state": f"stopped: {cause}" if self.state == "stopped" else self.state,
            "best val": "" if self.best_val_accuracy is None else percent(self.best_val_accuracy),
            "test (opened)": self.test,
            "size": megabytes(self.size_bytes),
            "age": age(time.time() - self.changed_at),
        }


@dataclass(frozen=True)
class RunList:
    """The runs of a folder, the newest first."""

    folder: str
    runs: tuple[RunSummary, ...]

    def __iter__(self) -> Iterator[RunSummary]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def to_json(self) -> dict[str, Any]:
        """Returns the list as `runs --json` prints it."""
        return {"folder": self.folder, "runs": [asdict(run) for run in self.runs]}

    def _repr_html_(self) -> str:
        return notebook.card("Runs", notebook.rows("Runs", [run.row() for run in self], left=WORDS))


def runs(folder: str | Path = "runs") -> RunList:
    """Returns every run in `folder`, or the one that it is itself; folders of other things are left out.

    What cannot be read is listed as broken with the reason. The default may be missing; raises
    RecipeError where another folder is.
    """
    root = Path(folder)
    if not root.is_dir() and root != Path("runs"):
        raise RecipeError(f"{folder} is not a folder; give one that holds runs, as in `pictorch runs runs`")
    entries = [root] if RunFolder.is_begun(root) else root.iterdir() if root.is_dir() else []
    found = [_summary(entry) for entry in entries if RunFolder.is_begun(entry)]
    return RunList(str(root), tuple(sorted(found, key=lambda run: (-run.changed_at, run.path))))


def _summary(path: Path) -> RunSummary:
    run = RunFolder(path)
    known: dict[str, Any] = {
        "path": str(path),
        "size_bytes": durable.size_bytes(path),
        "changed_at": run.changed_at(),
    }
    try:
        summary = RunSummary(**known, **_read(RunFolder.open(path)))
        summary.row()  # what cannot be shown is broken too
        return summary
    except UserError as error:
        reason = str(error)
    except OSError as error:
        place = error.filename or path
        reason = f"{place} {unreadable(place, error)}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # edited by hand
        reason = f"{path}: its records are not what pictorch wrote ({error!r})"
    return RunSummary(**known, state="broken", reason=reason)


def _read(run: RunFolder) -> dict[str, Any]:
    facts, data = run.facts(), run.data()
    epochs = run.epochs()
    best, planned = best_epoch(epochs), epochs_planned(facts)
    test = run.evaluation("test")
    if facts["finished_epoch"] is not None:
        state = "finished" if facts["finished_epoch"] >= planned else "stopped early"
    elif run.is_in_use():
        state = "training"
    else:
        state = "stopped" if facts.get("stopped_by") else "interrupted"
    return {
        "state": state,
        "recipe": facts.get("recipe") or run.recipe().name,
        "data": data["source"],
        "epochs": len(epochs),
        "epochs_planned": planned,
        "stopped_by": facts.get("stopped_by"),
        "best_epoch": best and best["epoch"],
        "best_val_accuracy": best and best["val_accuracy"],
        "test_accuracy": test and test.accuracy,
        "test_openings": data["test_openings"],
    }
