"""What a training gave, read from the records of its run."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictorch import notebook
from pictorch.formats import percent
from pictorch.run_folder import RunFolder
from pictorch.run_records import best_epoch, epochs_planned
from pictorch.training.group import ALONE, Group


@dataclass(frozen=True)
class FitResult:
    """What a training gave. Accuracies are fractions; `checkpoint` is the one that is judged.

    `stopped_by` names the recipe's field that ended it before `epochs_planned`: 'early_stop_epochs',
    or 'max_minutes', after which it can be resumed. Where no epoch is done, its figures are None.
    """

    run: str
    epochs: int
    epochs_planned: int
    steps: int
    stopped_by: str | None
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    best_epoch: int | None
    best_val_accuracy: float | None
    checkpoint: str

    def to_json(self) -> dict[str, Any]:
        """Returns the result as `train --json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        figures = {
            "run folder": self.run,
            "epochs": f"{self.epochs}, stopped by {self.stopped_by}" if self.stopped_by else self.epochs,
            "training accuracy": None if self.train_accuracy is None else percent(self.train_accuracy),
            "best validation accuracy": None
            if self.best_val_accuracy is None
            else f"{percent(self.best_val_accuracy)} in epoch {self.best_epoch}",
            "judged checkpoint": self.checkpoint,
        }
        epochs = RunFolder(Path(self.run)).epochs()
        curves = (
            notebook.curve(key.replace("_", " "), [line[key] for line in epochs])
            for key in ("train_loss", "val_loss", "val_accuracy")
        )
        return notebook.card("Training", notebook.facts(figures), notebook.side_by_side(*curves))


def fit_result(run: RunFolder, group: Group = ALONE) -> FitResult:
    """Returns the result of a run that is finished or was stopped in good order, from its records.

    Those lie with the first process of a group, which tells the others.
    """
    return FitResult(**group.told_json(lambda: _result(run).to_json()))


def _result(run: RunFolder) -> FitResult:
    facts, epochs = run.facts(), run.epochs()
    best, planned = best_epoch(epochs), epochs_planned(facts)
    last = epochs[-1] if epochs else {}
    early = facts["finished_epoch"] is not None and facts["finished_epoch"] < planned
    return FitResult(
        run=str(run.path),
        epochs=len(epochs),
        epochs_planned=planned,
        steps=max((line["step"] for line in run.timing()), default=0),
        stopped_by="early_stop_epochs" if early else facts.get("stopped_by"),
        train_loss=last.get("train_loss"),
        train_accuracy=last.get("train_accuracy"),
        val_loss=last.get("val_loss"),
        val_accuracy=last.get("val_accuracy"),
        best_epoch=best["epoch"] if best else None,
        best_val_accuracy=best["val_accuracy"] if best else None,
        checkpoint=run.choose_checkpoint(None),
    )
