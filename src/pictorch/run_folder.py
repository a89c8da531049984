"""The run folder: the only file that knows the names inside it, and the records that lie there."""

import fcntl
import json
import os
import platform
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from numpy.typing import NDArray

from pictorch import durable, notebook
from pictorch.errors import CheckpointError, RecipeError, RunInUseError, unknown
from pictorch.formats import count, decimal, percent
from pictorch.recipe import Recipe
from pictorch.recipe.files import dump_recipe, load_recipe
from pictorch.result_folder import numbered_folder
from pictorch.run_records import npz_bytes, read_json, read_lines, read_npz
from pictorch.views import ViewScores

SCHEMA = 1
BEST, LAST, WEIGHTS = "best", "last", "model.safetensors"
FIRST = "epoch-0000"  # of a run that began as somebody's weights; it always stays

# What a start that was killed before run.json leaves behind; run.lock comes first.
_BEGUN = {"run.lock", "recipe.yaml", "environment.json", "data.json"}


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class; AUC is one against the rest, None where it is not defined."""

    name: str
    n: int
    precision: float
    recall: float
    f1: float
    auc: float | None


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. Fractions from 0 to 1; `confusion[i][j]` counts label i called j.

    `step` tells how long the checkpoint's weights were trained; None for a bundle, which only has
    the checkpoint's name. `views` is what several views of each image are worth, where that was asked.
    """

    split: str
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    top5: float | None
    per_class: tuple[ClassScore, ...]
    macro: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    checkpoint: str
    step: int | None
    test_openings: int
    views: ViewScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `evaluate --json` prints it."""
        return {key: value for key, value in asdict(self).items() if key != "views" or value is not None}

    def _repr_html_(self) -> str:
        figures = {
            "accuracy": notebook.accuracy(self.accuracy, self.accuracy_interval, self.n),
            "with views": self.views
            and notebook.accuracy(self.views.accuracy, self.views.accuracy_interval, self.n),
            "loss": decimal(self.loss),
            "top 5": None if self.top5 is None else percent(self.top5),
            "checkpoint": self.checkpoint,
            "test openings": self.test_openings if self.split == "test" else None,
        }
        scores = (
            {"class": one.name, "n": count(one.n), "precision": percent(one.precision),
             "recall": percent(one.recall), "F1": percent(one.f1), "AUC": decimal(one.auc)}
            for one in self.per_class
        )  # fmt: skip
        parts = notebook.facts(figures), notebook.rows("Classes", scores, left=("class",))
        return notebook.card(f"Evaluation on {self.split}", *parts)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Evaluation":
        """Returns the record behind what `to_json` gave."""
        (low, high), views = record["accuracy_interval"], record.get("views")
        return Evaluation(
            **{
                **record,
                "accuracy_interval": (low, high),
                "per_class": tuple(ClassScore(**score) for score in record["per_class"]),
                "confusion": tuple(tuple(row) for row in record["confusion"]),
                "views": views and ViewScores.from_json(views),
            }
        )


class RunFolder:
    """One run on the disk. Every stage after training reads and writes through this class."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, out: str | Path | None, recipe_name: str) -> "RunFolder":
        """Makes the folder `out`, or `runs/<recipe>-<NNN>` with the first free number.

        Raises RecipeError when `out` holds something or is no UTF-8, ResourceError when it cannot be made.
        """
        if out is not None:
            path = Path(out)
            with durable.explained(path):
                fault = fault_of_new_run(path)
                if fault:
                    raise RecipeError(f"--out {path} {fault}choose another --out")
                path.mkdir(parents=True, exist_ok=True)
            return cls(path)
        return cls(numbered_folder(Path("runs"), recipe_name))

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Returns the run at `path`; raises CheckpointError when there is none or it is newer."""
        run = cls(Path(path))
        if not run._file("run.json").is_file():
            reason = "it has no run.json" if run.path.exists() else "it does not exist"
            raise CheckpointError(
                f"{path} is not a run folder ({reason}); give one that `pictorch train` made"
            )
        schema = run.facts()["schema"]
        if not isinstance(schema, int) or schema > SCHEMA:
            raise CheckpointError(
                f"{path} was written by a newer pictorch (schema {schema}, this one reads {SCHEMA}); "
                "upgrade with `pip install -U pictorch`"
            )
        return run

    @staticmethod
    def is_begun(path: Path) -> bool:
        """Returns whether a folder is a run, what a start that was killed leaves of one, or closed to us."""
        try:
            return path.name[:1] != "." and any((path / name).exists() for name in ("run.lock", "run.json"))
        except PermissionError:
            return True

    def is_in_use(self) -> bool:
        """Returns whether another process trains, evaluates or exports this run now."""
        try:
            with self._file("run.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def changed_at(self) -> float:
        """Returns when training last wrote something down, in seconds since 1970."""
        for path in (self._file("metrics.jsonl"), self._file("run.json"), self.path):
            with suppress(OSError):
                return path.stat().st_mtime
        return 0.0

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for this process; raises RunInUseError when another one has it.

        The kernel frees the lock when the process ends, however it ends.
        """
        with durable.explained(self.path):
            file = self._file("run.lock").open("a+")
        with file:
            with durable.explained(self.path):
                self._take(file)
            yield

    def _take(self, file: TextIO) -> None:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)  # `is_in_use` in another process may have held it for a moment
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunInUseError(f"{self.path} is in use by {holder}; wait for it or stop it first") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()

    def begin(
        self,
        recipe: Recipe,
        *,
        command: list[str],
        network: dict[str, Any],
        environment: dict[str, Any],
        data: dict[str, Any],
        segments: list[dict[str, Any]],
        weights: dict[str, Any] | None = None,
    ) -> None:
        """Writes what a run starts with; run.json comes last and makes the folder a run."""
        durable.write_bytes(self._file("recipe.yaml"), dump_recipe(recipe).encode())
        self.write_environment(environment)
        durable.write_json(self._file("data.json"), {"schema": SCHEMA, **data, "test_openings": 0})
        facts = {"schema": SCHEMA, "recipe": recipe.name, "command": command, "network": network}
        facts |= {"segments": segments, "finished_epoch": None, "stopped_by": None, "weights": weights}
        durable.write_json(self._file("run.json"), facts)

    def facts(self) -> dict[str, Any]:
        """Returns run.json: schema, recipe (its name), command, network (layer table), segments,
        finished_epoch, stopped_by, weights (those it began with, None for drawn ones)."""
        return read_json(self._file("run.json"))

    def write_segments(self, segments: list[dict[str, Any]]) -> None:
        """Records the training segments, one more than before, which makes the run unfinished."""
        durable.write_json(
            self._file("run.json"), {**self.facts(), "segments": segments, "finished_epoch": None}
        )

    def write_finished(self, epoch: int) -> None:
        """Records that training ended after `epoch` epochs, as planned or stopped early."""
        if self.facts()["finished_epoch"] != epoch:
            durable.write_json(self._file("run.json"), {**self.facts(), "finished_epoch": epoch})

    def write_stopped(self, cause: str | None) -> None:
        """Records what stopped the training before its end, None while it goes on."""
        if self.facts().get("stopped_by") != cause:
            durable.write_json(self._file("run.json"), {**self.facts(), "stopped_by": cause})

    def recipe(self) -> Recipe:
        """Returns the resolved recipe of the run."""
        return load_recipe(self._file("recipe.yaml"))

    def environment(self) -> dict[str, Any]:
        """Returns environment.json: versions, device, threads and every resolved `auto`."""
        return read_json(self._file("environment.json"))

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Replaces environment.json."""
        durable.write_json(self._file("environment.json"), environment)

    def data(self) -> dict[str, Any]:
        """Returns data.json: source, fingerprint, class names, counts, input, test openings."""
        return read_json(self._file("data.json"))

    def count_test_opening(self) -> int:
        """Adds one to the openings of the test set and returns their number."""
        record = self.data()
        record["test_openings"] += 1
        durable.write_json(self._file("data.json"), record)
        return int(record["test_openings"])

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Appends what follows from recipe, data and seed; checkpoints sync it, a resume redoes the rest."""
        durable.append_line(self._file("metrics.jsonl"), json.dumps(record, allow_nan=False), synced=False)

    def append_timing(self, record: dict[str, Any]) -> None:
        """Appends a line to timing.jsonl: seconds, images a second, memory."""
        synced = record.get("kind") != "step"
        durable.append_line(self._file("timing.jsonl"), json.dumps(record, allow_nan=False), synced=synced)

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl, `kind` being 'step' or 'epoch'."""
        return read_lines(self._file("metrics.jsonl"))

    def epochs(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl that tell of a whole epoch."""
        lines = read_lines(self._file("metrics.jsonl"), holding=b'"kind": "epoch"')
        return [line for line in lines if line["kind"] == "epoch"]

    def timing(self) -> list[dict[str, Any]]:
        """Returns the lines of timing.jsonl, `kind` being 'step', 'epoch' or 'stop'."""
        return read_lines(self._file("timing.jsonl"))

    def metrics_bytes(self) -> int:
        """Syncs metrics.jsonl and returns its size, which a checkpoint keeps to cut it back to."""
        return durable.synced_size(self._file("metrics.jsonl"))

    def cut_back(self, metrics_bytes: int, last_step: int) -> None:
        """Drops what was recorded after a checkpoint: metrics by size, timing by step."""
        durable.truncate(self._file("metrics.jsonl"), metrics_bytes)
        kept = [line for line in self.timing() if line["step"] <= last_step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        durable.write_bytes(self._file("timing.jsonl"), text.encode())

    def write_samples(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes samples.npz: pictures as they are stored and as a batch of the recipe has them."""
        durable.write_bytes(self._file("samples.npz"), npz_bytes(arrays))

    def samples(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays of samples.npz, none where it was not written."""
        return read_npz(self._file("samples.npz"))

    def write_evaluation(self, evaluation: Evaluation, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes evaluation/<split>.npz (logits, labels, mistakes) and then the .json."""
        stem = f"evaluation/{evaluation.split}"
        durable.write_bytes(self._file(f"{stem}.npz"), npz_bytes(arrays))
        durable.write_json(self._file(f"{stem}.json"), evaluation.to_json())

    def evaluation(self, split: str) -> Evaluation | None:
        """Returns the stored evaluation of a split, None where it was not made."""
        path = self._file(f"evaluation/{split}.json")
        if not path.exists():
            return None
        record = read_json(path)
        try:
            return Evaluation.from_json(record)
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"{path} is not what pictorch wrote; make it again with "
                f"`pictorch evaluate {shlex.quote(str(self.path))} --split {split}`"
            ) from None

    def evaluation_arrays(self, split: str) -> dict[str, NDArray[Any]]:
        """Returns logits, labels and mistakes of a split, none where it was not evaluated."""
        return read_npz(self._file(f"evaluation/{split}.npz"))

    def checkpoint_path(self, name: str) -> Path:
        """Returns where the checkpoint `best`, `last` or `epoch-NNNN` lies or will lie."""
        return self._file("checkpoints") / name

    def checkpoints(self) -> list[str]:
        """Returns the names of the checkpoints that are there, best and last first."""
        folder = self._file("checkpoints")
        kept = [f"epoch-{epoch:04d}" for epoch in self._kept_epochs()]
        return [name for name in (BEST, LAST) if durable.exists(folder / name)] + kept

    def drop_checkpoints(self, *, keep: int, until_epoch: int) -> None:
        """Removes the oldest `epoch-NNNN` up to `until_epoch` so that FIRST and the newest `keep` stay."""
        for epoch in [epoch for epoch in self._kept_epochs() if 0 < epoch <= until_epoch][:-keep]:
            durable.remove_folder(self.checkpoint_path(f"epoch-{epoch:04d}"))
        durable.sweep(self._file("checkpoints"))

    def _kept_epochs(self) -> list[int]:
        names = (path.name for path in self._file("checkpoints").glob("epoch-*"))
        return sorted(int(name[6:]) for name in names if re.fullmatch(r"epoch-\d{4,}", name))

    def choose_checkpoint(self, asked: str | None) -> str:
        """Returns the asked checkpoint, else best, else last; raises when it is not there."""
        names = self.checkpoints()
        if not names:
            raise CheckpointError(
                f"{self.path} has no checkpoint yet; make one with "
                f"`pictorch train --resume {shlex.quote(str(self.path))}`"
            )
        if asked is None:
            return names[0]
        number = re.fullmatch(r"epoch-(\d+)", asked)
        name = f"epoch-{int(number[1]):04d}" if number else asked
        if name not in names:
            raise CheckpointError(f"{self.path}: {unknown('checkpoint', asked, names)}")
        return name

    @property
    def bundle_path(self) -> Path:
        """Where `export` puts the bundle."""
        return self._file("bundle")

    def form_path(self, form: str) -> Path:
        """Returns where `export --to FORM` puts that form of the model."""
        return self._file("exported") / form

    @property
    def report_path(self) -> Path:
        """Where `report` puts the page."""
        return self._file("report.html")

    @property
    def tensorboard_path(self) -> Path:
        """Where the TensorBoard view lies."""
        return self._file("tensorboard")

    @property
    def log_path(self) -> Path:
        """Where the lines that a person saw are kept."""
        return self._file("log.txt")

    def _file(self, name: str) -> Path:
        return self.path / name


def fault_of_new_run(path: Path) -> str:
    """Returns why a new run cannot lie at `path`, with what else to do than to choose another, or ''."""
    if re.search(r"[\ud800-\udfff]", str(path)):  # TensorBoard cannot write there
        return "is no UTF-8; "
    names = {entry.name for entry in path.iterdir() if entry.name[0] != "."} if path.exists() else set()
    if not names or {"run.lock"} <= names <= _BEGUN:
        return ""
    go_on = f"go on with `pictorch train --resume {shlex.quote(str(path))}` or "
    return f"is not empty; {go_on if 'run.json' in names else ''}"
