"""Everything the page shows, read from the run folder once."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.recipe import Recipe
from pictorch.run_folder import Evaluation, RunFolder
from pictorch.run_records import best_epoch, epochs_planned

PARTS = {"train": "training", "val": "validation", "test": "test"}

Record = dict[str, Any]
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Records:
    """The contents of a run folder; `shown` is the evaluation the page goes into, test before val."""

    path: Path
    recipe: Recipe
    facts: Record
    environment: Record
    data: Record
    epochs: list[Record]
    steps: list[Record]
    epoch_timing: list[Record]
    samples: Arrays
    test: Evaluation | None
    val: Evaluation | None
    arrays: Arrays

    @property
    def shown(self) -> Evaluation | None:
        """The evaluation behind the pictures, and the first of the numbers."""
        return self.test or self.val

    @property
    def class_names(self) -> list[str]:
        """The class names, from the data or, failing that, from the evaluation."""
        names: list[str] = self.data.get("class_names", [])
        return names or [score.name for score in self.shown.per_class] if self.shown else names

    @property
    def num_epochs_planned(self) -> int:
        """Where training ends when nothing stops it, added segments included."""
        segments = self.facts.get("segments")
        return epochs_planned(self.facts) if segments else math.ceil(self.recipe.train.epochs)

    @property
    def training_command(self) -> str | None:
        """The command that began the run, None where it was begun from Python."""
        return shlex.join(self.facts.get("command", [])) or None

    @property
    def evaluate_command(self) -> str:
        """The command that scores the run without opening the test set, where that can be done."""
        return self.command("evaluate", "--split", "test" if self.num_images("val") == 0 else "val")

    def num_images(self, split: str) -> int | None:
        """Returns how many images a split has, None where the data does not say."""
        found: int | None = self.data.get("counts", {}).get(split)
        return found

    def class_name(self, label: int) -> str:
        """Returns the name of a class, or its number where names are not known."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def command(self, verb: str, *options: str) -> str:
        """Returns the line that a person types to do `verb` with this run."""
        return shlex.join(["pictorch", *verb.split(), str(self.path), *options])

    def best_epoch(self) -> Record | None:
        """Returns the epoch that validation chose, None where nothing was validated."""
        return best_epoch(self.epochs)


def read_records(run: RunFolder) -> Records:
    """Returns what the run folder holds now; a run that is still going is read as far as it is."""
    metrics, timing = run.metrics(), run.timing()
    test, val = run.evaluation("test"), run.evaluation("val")
    shown = "test" if test else "val"
    return Records(
        path=run.path,
        recipe=run.recipe(),
        facts=run.facts(),
        environment=run.environment(),
        data=run.data(),
        epochs=[line for line in metrics if line["kind"] == "epoch"],
        steps=[line for line in metrics if line["kind"] == "step"],
        epoch_timing=[line for line in timing if line["kind"] == "epoch"],
        samples=run.samples(),
        test=test,
        val=val,
        arrays=run.evaluation_arrays(shown),
    )
